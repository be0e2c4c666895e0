"""EfficientNet-B0 on ImageNet-1k by the improved recipe; a leaf may name a checkpoint."""

_base_ = [
    '../datasets/imagenet_train_improved.py',
    '../datasets/imagenet_val.py',
    '../schedules/finetune_300e.py',
    '../default_runtime.py',
]
default_scope = 'lightvit_dense'

num_classes = 1000
model = dict(
    type='lightvit_dense.ImageClassifier',
    data_preprocessor=dict(
        type='lightvit_dense.ClassificationPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        num_classes=num_classes,
        mixup=0.2,
    ),
    backbone=dict(
        type='lightvit_dense.TimmBackbone',
        name='tf_efficientnet_b0',
        options=dict(drop_path_rate=0.2, bn_momentum=0.01),
    ),
    head=dict(num_classes=num_classes, norm=False, dropout=0.2),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0, num_layers=7))
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
