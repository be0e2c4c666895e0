"""Swin-Tiny (width 48) with a linear head on the mean of its last map, 224 px."""

num_classes = 1000
model = dict(
    type='lightvit_dense.ImageClassifier',
    data_preprocessor=dict(
        type='lightvit_dense.ClassificationPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        num_classes=num_classes,
    ),
    backbone=dict(type='lightvit_dense.SwinTransformer', arch='tiny', img_size=224),
    head=dict(num_classes=num_classes, pool='mean', norm=False),
)
