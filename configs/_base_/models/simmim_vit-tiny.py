"""SimMIM on ViT-Tiny (12 heads), 224 px."""

model = dict(
    type='lightvit_dense.SimMIM',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=224,
        patch_size=16,
        pos_embed='sincos',
        init='simmim',
        drop_path_rate=0.1,
    ),
    mask_unit=32,
    mask_ratio=0.6,
)
