"""MAE on ViT-Tiny (12 heads) with the light decoder, 224 px."""

model = dict(
    type='lightvit_dense.MAE',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=224,
        patch_size=16,
        pos_embed='sincos',
    ),
    decoder=dict(embed_dim=96, depth=1, num_heads=3),
    mask_ratio=0.75,
    norm_pix_loss=True,
)
