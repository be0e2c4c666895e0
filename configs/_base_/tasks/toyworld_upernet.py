"""UperNet on the toy world; a leaf may name a checkpoint."""

_base_ = [
    '../models/upernet_vit-tiny.py',
    '../datasets/ade20k_512.py',
    '../schedules/ade20k_160k.py',
    '../default_runtime.py',
]
default_scope = 'mmseg'

crop_size = scale = (128, 128)
channels = 64
model = dict(
    pad_shape=128,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=128,
        patch_size=8,
        out_indices=(1, 2, 3, 5),
        drop_path_rate=0.0,
    ),
    neck=dict(embed_dim=128, rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=[128, 128, 128, 128], channels=channels),
    auxiliary_head=dict(in_channels=128, channels=channels),
    test_cfg=dict(_delete_=True, mode='whole'),
)

data_root = '{{$LIGHTVIT_DATA:data}}/toyworld/ade20k/'
train_dataloader = dict(
    batch_size=8,
    num_workers=0,  # as quick to load as to hand over
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='lightvit_dense.LoadSegmentationMap'),
            dict(
                type='lightvit_dense.RandomScaleCrop',
                scale=scale,
                ratio_range=(0.7, 1.4),
                crop_size=crop_size,
                cat_max_ratio=0.9,
            ),
            dict(type='mmseg.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.PhotoMetricDistortion'),
            dict(type='lightvit_dense.PackSegmentation'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='mmseg.Resize', scale=scale, keep_ratio=True),
            dict(type='lightvit_dense.LoadSegmentationMap'),
            dict(type='mmseg.PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

max_iters, warmup = 200, 20
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.9))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(
        type='mmengine.PolyLR',
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=100)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(interval=100, by_epoch=False, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
