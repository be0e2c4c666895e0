"""ViT-Tiny fine-tuned by the original recipe; a leaf names the checkpoint."""

_base_ = [
    '../models/vit-tiny_cls.py',
    '../datasets/imagenet_train.py',
    '../datasets/imagenet_val.py',
    '../schedules/finetune_300e.py',
    '../default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(
        drop_path_rate=0.1,
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone'),
    ),
    head=dict(label_smoothing=0.1),
)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
