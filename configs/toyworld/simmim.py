"""A small vision transformer for the toy world, pre-trained by SimMIM on its unlabelled images.

What      The SimMIM recipe made small: width 128, depth 6, 8-px patches, crops of 64 px.
Source    Ours.
Run       tools/train.py configs/toyworld/simmim.py
"""

_base_ = '../pretrain/simmim_vit-tiny.py'

crop = 64  # half a picture, so objects keep the size they have there
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=crop,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    mask_unit=16,
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

max_iters, warmup = 200, 20
optim_wrapper = dict(optimizer=dict(lr=1e-3))
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
]
