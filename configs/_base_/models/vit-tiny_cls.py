"""ViT-Tiny (12 heads) with a linear head on the mean of its patch tokens, 224 px."""

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
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=224,
        patch_size=16,
        pos_embed='learned',
        final_norm=False,  # the head normalises after pooling
        init='timm',  # what a checkpoint, or a part of one, does not cover
    ),
    head=dict(num_classes=num_classes, pool='mean', norm=True),
)
