"""UperNet on ViT-Tiny, ADE20K, 512 px, 160 000 iterations; a leaf names the checkpoint."""

_base_ = [
    '../models/upernet_vit-tiny.py',
    '../datasets/ade20k_512.py',
    '../schedules/ade20k_160k.py',
    '../default_runtime.py',
]
default_scope = 'mmseg'

model = dict(backbone=dict(init_cfg=dict(type='lightvit_dense.PretrainedBackbone')))
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=8000, by_epoch=False, save_best='mIoU', rule='greater'),
)
log_processor = dict(by_epoch=False)
