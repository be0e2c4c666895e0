"""Semantic FPN, Hiera-Tiny from D-MAE, ADE20K, 512 px, 160 000 iterations.

What      `semfpn_dmae_tiny.py` on Hiera-Tiny, whose own maps at strides 4 to 32 go to the head.
Source    The pre-training is the authors'; they publish no segmentation with Hiera-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/ade20k/semfpn_dmae_hiera-tiny.py 8 --amp
"""

_base_ = [
    '../_base_/models/semfpn_vit-tiny.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_160k.py',
    '../_base_/default_runtime.py',
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
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_hiera-tiny/backbone.safetensors',
        ),
    ),
    neck=None,
    decode_head=dict(in_channels=[46, 92, 184, 368]),
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=8000, by_epoch=False, save_best='mIoU', rule='greater'),
)
log_processor = dict(by_epoch=False)
