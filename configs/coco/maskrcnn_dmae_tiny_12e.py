"""Mask R-CNN, ViT-Tiny from D-MAE, COCO 2017, 640 px, 12 epochs at batch 16.

What      A short schedule for one or two GPUs: 16 images a step, 88 500 iterations, the learning
          rate halved with a quarter of the batch, steps at 8/12 and 11/12.
Source    Model and data are `maskrcnn_dmae_tiny.py`'s; the schedule is ours, with mmdet's 1x steps.
Expected  Nothing is published for it. Not run by us.
Cost      An eighth of the 100 epochs.
Run       tools/dist_train.sh configs/coco/maskrcnn_dmae_tiny_12e.py 2 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)
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

expected = None  # nothing is published
