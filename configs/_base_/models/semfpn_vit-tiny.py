"""Semantic FPN on mmsegmentation's MAE backbone at ViT-Tiny's size, a narrow pyramid, 150 classes."""

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='lightvit_dense.EncoderDecoder',
    keep_scores=False,  # labels alone: 150 maps of scores would take the memory
    data_preprocessor=dict(
        type='lightvit_dense.SegmentationPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),  # of training; smaller crops are filled up
    ),
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=512,  # of both position tables: a window's; a checkpoint's are resized once
        patch_size=16,
        cls_token=True,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        drop_path_rate=0.1,
        rel_pos=dict(kind='bias'),
        layer_scale=1.0,
    ),
    neck=dict(
        type='lightvit_dense.ScaledFeaturePyramid',
        in_channels=192,
        scale_factor=0.25,  # 48 channels
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='mmseg.FPNHead',
        in_channels=[48, 48, 48, 48],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
