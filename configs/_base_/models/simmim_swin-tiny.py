"""SimMIM on Swin-Tiny (width 48), 224 px."""

model = dict(
    type='lightvit_dense.SwinSimMIM',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='lightvit_dense.SwinTransformer',
        arch='tiny',
        img_size=224,
        mask_token=True,
        final_norm=False,  # the decoder has one
        drop_path_rate=0.1,
    ),
    decoder=dict(embed_dim=96, num_heads=3),
    mask_unit=32,
    mask_ratio=0.6,
)
