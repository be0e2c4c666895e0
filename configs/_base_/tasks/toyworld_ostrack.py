"""The one-stream tracker on the toy world; a leaf may name a checkpoint."""

_base_ = [
    '../models/ostrack256_vit-tiny.py',
    '../datasets/tracking_pairs.py',
    '../schedules/ostrack_300e.py',
    '../default_runtime.py',
]
default_scope = 'lightvit_dense'
custom_imports = dict(imports=['lightvit_dense', 'tracking'], allow_failed_imports=False)

template_size, search_size = 32, 64
template_factor, search_factor = 1.25, 2.5
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        patch_size=8,
        drop_path_rate=0.0,
        elimination=dict(_delete_=True, blocks=(1, 3, 4), keep=0.9),
    ),
    head=dict(channels=64, prior=0.1, boxes_at='truth'),
    template_size=template_size,
    search_size=search_size,
    template_factor=template_factor,
    search_factor=search_factor,
)

data_root = '{{$LIGHTVIT_DATA:data}}/toyworld/lasot/'
crops = dict(
    template=dict(size=template_size, factor=template_factor, center_jitter=0.0, scale_jitter=0.0),
    search=dict(size=search_size, factor=search_factor, center_jitter=1.5, scale_jitter=0.3),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # as quick to load as to hand over
    persistent_workers=False,
    pin_memory=False,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        sets=[dict(type='tracking.LaSOT', data_root=data_root, split='train')],
        ratios=[1],
        **crops,
    ),
)
val_dataloader = dict(
    batch_size=20,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        sets=[dict(type='tracking.LaSOT', data_root=data_root, split='test')],
        samples_per_epoch=200,
        **crops,
    ),
)
test_dataloader = dict(
    dataset=dict(
        sequences=dict(_delete_=True, type='tracking.LaSOT', data_root=data_root, split='test')
    )
)
extra_tests = None

max_iters, warmup = 1100, 30
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(backbone=dict(lr_mult=1.0))),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(
    _delete_=True,
    type='lightvit_dense.WarmupCosineLR',
    warmup=warmup,
    start_factor=0.01,
    by_epoch=False,
)
train_cfg = dict(
    _delete_=True, type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=550
)
test_cfg = dict(decode_workers=0)  # small frames
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(interval=220, by_epoch=False, max_keep_ckpts=1),
    elimination=dict(type='tracking.EliminationScheduleHook', begin=400, end=600, by_epoch=False),
)
log_processor = dict(by_epoch=False)
visualization_hook = dict(type='tracking.FilmStripHook')
