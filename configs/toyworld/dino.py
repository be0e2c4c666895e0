"""A small vision transformer for the toy world, pre-trained by DINO on its unlabelled images.

What      The DINO recipe made small: width 96, depth 4, 8-px patches, 2 crops of 64 px and 4 of 32
          px, 256 prototypes; a sharper teacher and a faster centre, as there are 200 steps only.
Source    Ours.
Run       tools/train.py configs/toyworld/dino.py
"""

_base_ = [
    '../_base_/models/dino_vit-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=4, num_heads=4),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    head=dict(out_channels=256, hidden=256, bottleneck=64),
    teacher_temperature=0.02,
    center_momentum=0.5,
)
color = [
    dict(type='lightvit_dense.RandomFlip', prob=0.5),
    dict(
        type='lightvit_dense.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        prob=0.8,
    ),
    dict(type='lightvit_dense.RandomGrayscale', prob=0.2),
    dict(type='lightvit_dense.Solarize', prob=0.1),
]
large = dict(type='lightvit_dense.RandomResizedCrop', size=64, scale=(0.25, 0.8), backend='cv2')
small = dict(type='lightvit_dense.RandomResizedCrop', size=32, scale=(0.05, 0.25), backend='cv2')
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(
                type='lightvit_dense.MultiView',
                views=[
                    dict(count=2, pipeline=[large, *color]),
                    dict(count=4, pipeline=[small, *color]),
                ],
            ),
            dict(type='lightvit_dense.PackViews'),
        ],
    ),
)

max_iters, warmup = 200, 40
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04), clip_grad=dict(max_norm=3.0)
)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max=max_iters - warmup,
        eta_min=1e-6,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
    ),
    dict(
        type='mmengine.CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10.0,
        T_max=max_iters,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=32)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.MomentumUpdateHook', base=0.98),
    dict(type='lightvit_dense.FreezeLastLayerHook', until=10, by_epoch=False),
    dict(type='lightvit_dense.ExportBackboneHook', module='momentum_backbone'),
]
