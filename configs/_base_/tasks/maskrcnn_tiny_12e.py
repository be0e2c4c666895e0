"""Mask R-CNN on ViT-Tiny, COCO 2017, 640 px, 12 epochs at batch 16; a leaf names the checkpoint."""

_base_ = './maskrcnn_tiny.py'

max_iters = 88500  # 12 epochs of 118 000 images, 16 a step
optim_wrapper = dict(optimizer=dict(lr=5e-5))  # 1e-4 * sqrt(16 / 64)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='mmengine.MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[59000, 81125],  # 8/12 and 11/12
        gamma=0.1,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=29500, dynamic_intervals=[])
auto_scale_lr = dict(base_batch_size=16)
