"""EfficientNet-B0 from scratch by the improved recipe, 300 epochs: what SEED is compared with.

What      timm's `tf_efficientnet_b0`, drop connect and dropout of 0.2, RandAugment of magnitude 10,
          Mixup 0.2, AdamW, lr 4e-3 at batch 1024, no layer decay.
Source    The paper's improved recipe. The 77.7% beside SEED's 77.2% in its table 2 is timm's
          `efficientnet_b0.ra_in1k`, of timm's own recipe (RMSprop, 450 epochs).
Expected  Not published for this recipe. Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_scratch_efficientnet-b0_300e.py 8 --amp
"""

_base_ = [
    '../_base_/datasets/imagenet_train_improved.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/default_runtime.py',
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
