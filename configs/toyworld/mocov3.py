"""A small vision transformer for the toy world, pre-trained by MoCo-v3 on its unlabelled images.

What      The MoCo-v3 recipe made small: width 96, depth 4, 8-px patches, views of 64 px, heads of 256.
          Batch normalisation is each process's own, as torch's common one needs GPUs.
Source    Ours.
Run       tools/train.py configs/toyworld/mocov3.py
"""

_base_ = '../pretrain/mocov3_vit-tiny.py'

crop = 64  # pixels; half the side of a picture
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=4, num_heads=4),
        img_size=crop,
        patch_size=8,
    ),
    hidden=256,
    out_channels=64,
)
sync_bn = None
shared = [
    dict(
        type='lightvit_dense.RandomResizedCrop',
        size=crop,
        scale=(0.25, 0.8),
        interpolation='bilinear',
        backend='cv2',
    ),
    dict(
        type='lightvit_dense.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        prob=0.8,
    ),
    dict(type='lightvit_dense.RandomGrayscale', prob=0.2),
    dict(type='mmcv.RandomFlip', prob=0.5),
]
first = [*shared, dict(type='lightvit_dense.GaussianBlur', sigma=(0.1, 1.0), prob=0.5)]
second = [*shared, dict(type='lightvit_dense.Solarize', prob=0.2)]
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
                type='lightvit_dense.MultiView',
                views=[dict(count=1, pipeline=first), dict(count=1, pipeline=second)],
            ),
            dict(type='lightvit_dense.PackViews'),
        ],
    ),
)

max_iters, warmup = 120, 20
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
    dict(type='lightvit_dense.NonFiniteLossGuard'),
    dict(type='lightvit_dense.ResourceHook'),
    dict(type='lightvit_dense.MomentumUpdateHook', base=0.95),  # there are few steps
    dict(type='lightvit_dense.ExportBackboneHook'),
]
