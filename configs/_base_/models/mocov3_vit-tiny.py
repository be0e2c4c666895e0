"""MoCo-v3 on ViT-Tiny (12 heads), 224 px."""

model = dict(
    type='lightvit_dense.MoCoV3',
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
        init='mocov3',
    ),
    hidden=4096,
    out_channels=256,
    temperature=0.2,
    stop_grad_patch_embed=False,
)
