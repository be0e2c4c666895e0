"""Mask R-CNN on Swin-Tiny, COCO 2017, 640 px, 100 epochs; a leaf names the checkpoint."""

_base_ = './maskrcnn_tiny.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_dense.SwinTransformer',
        arch='tiny',
        img_size=640,  # windows are planned for it: four stages of several windows
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        stage_norms=True,
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone'),
    ),
    neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[48, 96, 192, 384],
        out_channels=256,
        norm_cfg=_base_.norm_cfg,
        num_outs=5,
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)))
)
