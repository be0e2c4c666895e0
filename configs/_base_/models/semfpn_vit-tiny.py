"""Semantic FPN on mmsegmentation's MAE backbone at ViT-Tiny's size, a narrow pyramid."""

_base_ = './segmentor_vit-tiny.py'

model = dict(
    backbone=dict(
        img_size=512,  # of both position tables: a window's; a checkpoint's are resized once
        rel_pos=dict(kind='bias'),
        layer_scale=1.0,
    ),
    neck=dict(
        type='lightvit_dense.ScaledFeaturePyramid',
        in_channels=192,
        scale_factor=0.25,  # 48 channels
        norm_cfg=_base_.norm_cfg,
    ),
    decode_head=dict(
        type='mmseg.FPNHead',
        in_channels=[48, 48, 48, 48],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
