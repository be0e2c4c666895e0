"""Hiera-Tiny with a linear head on the mean of its last map, 224 px."""

num_classes = 1000
model = dict(
    type='lightvit_dense.ImageClassifier',
    data_preprocessor=dict(
        type='lightvit_dense.ClassificationPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        num_classes=num_classes,
    ),
    backbone=dict(
        type='lightvit_dense.Hiera',
        arch='tiny',
        img_size=224,
        final_norm=False,  # the head normalises after pooling
    ),
    head=dict(
        num_classes=num_classes,
        pool='mean',
        norm=True,
        init_std=2e-5,  # 0.02 x 0.001
        init_cfg=dict(type='mmengine.Constant', layer='LayerNorm', val=1.0, bias=0.02),
    ),
)
