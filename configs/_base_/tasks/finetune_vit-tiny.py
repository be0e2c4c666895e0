"""ViT-Tiny fine-tuned on ImageNet-1k by the improved recipe; a leaf names the checkpoint."""

_base_ = [
    '../models/vit-tiny_cls.py',
    '../datasets/imagenet_train_improved.py',
    '../datasets/imagenet_val.py',
    '../schedules/finetune_300e.py',
    '../default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    data_preprocessor=dict(mixup=0.2),
    backbone=dict(
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone'),
    ),
)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
