"""MAE on the papers' Hiera-Tiny (width 46, blocks 1-2-7-2) with the light decoder, 224 px."""

model = dict(
    type='lightvit_dense.HieraMAE',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        type='lightvit_dense.Hiera',
        arch='tiny',
        img_size=224,
        q_pool=2,  # one pooling fewer than for tasks: predictions of 16 px
    ),
    decoder=dict(embed_dim=96, depth=1, num_heads=3),
    mask_ratio=0.4,
    norm_pix_loss=True,
)
