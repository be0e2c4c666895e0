"""UperNet on Hiera-Tiny, ADE20K, 512 px, 160 000 iterations; a leaf names the checkpoint."""

_base_ = [
    '../models/upernet_vit-tiny.py',
    '../datasets/ade20k_512.py',
    '../schedules/ade20k_160k.py',
    '../default_runtime.py',
]
default_scope = 'mmseg'

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_dense.Hiera',
        arch='tiny',
        img_size=224,  # the grid of the position table; resized to the image's
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone'),
    ),
    neck=None,
    decode_head=dict(in_channels=[46, 92, 184, 368]),
    auxiliary_head=dict(in_channels=184),
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=8000, by_epoch=False, save_best='mIoU', rule='greater'),
)
log_processor = dict(by_epoch=False)
