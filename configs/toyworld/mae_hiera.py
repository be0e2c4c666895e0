"""A small Hiera for the toy world, pre-trained by MAE on its unlabelled images.

What      The Hiera recipe made small: width 24, blocks 1-1-4-2, crops of 64 px with tokens of 2 px,
          so that there are 16 mask units of 16 px and predictions of 8 px.
Source    Ours: hyper-parameters are stand-ins that fit a minute or two of a CPU.
Run       tools/train.py configs/toyworld/mae_hiera.py
"""

_base_ = [
    '../_base_/models/mae_hiera-tiny.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/schedules/pretrain_400e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

crop = 64  # half a picture, so objects keep the size they have there
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=24, stages=(1, 1, 4, 2), num_heads=1, patch_stride=2),
        img_size=crop,
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        data_root='{{$LIGHTVIT_DATA:data}}/toyworld/coco/',
        img_dir='unlabeled2017',
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(
                type='lightvit_dense.RandomResizedCrop',
                size=crop,
                scale=(0.12, 0.5),
                interpolation='bilinear',
                backend='cv2',
            ),
            dict(type='mmcv.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.PackImage'),
        ],
    ),
)

max_iters, warmup = 110, 20
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max=max_iters - warmup,
        eta_min=0.0,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
    ),
]
train_cfg = dict(
    _delete_=True, type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=10**9
)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=50, by_epoch=False, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=50),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
