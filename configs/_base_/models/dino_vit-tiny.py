"""DINO on ViT-Tiny (12 heads), 224 px."""

model = dict(
    type='lightvit_dense.DINO',
    data_preprocessor=dict(
        type='lightvit_dense.MultiViewPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=224,
        patch_size=16,
        pos_embed='sincos',
        init='timm',
        drop_path_rate=0.1,
    ),
    head=dict(out_channels=65536, hidden=2048, bottleneck=256, norm_last_layer=True),
    num_global_views=2,
    student_temperature=0.1,
    teacher_temperature=0.04,
    center_momentum=0.9,
)
