"""OSTrack-256 on ViT-Tiny, 300 epochs on four data sets; a leaf names the checkpoint."""

_base_ = [
    '../models/ostrack256_vit-tiny.py',
    '../datasets/tracking_pairs.py',
    '../schedules/ostrack_300e.py',
    '../default_runtime.py',
]
default_scope = 'lightvit_dense'
custom_imports = dict(imports=['lightvit_dense', 'tracking'], allow_failed_imports=False)

model = dict(backbone=dict(init_cfg=dict(type='lightvit_dense.PretrainedBackbone')))
default_hooks = dict(
    checkpoint=dict(interval=10, save_best='IoU', rule='greater'),
    elimination=dict(type='tracking.EliminationScheduleHook', begin=20, end=100),
)
visualization_hook = dict(type='tracking.FilmStripHook')
