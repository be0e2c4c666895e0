"""MAE-Tiny, fine-tuned by the original recipe, 300 epochs.

What      MAE's recipe for large models: RandAugment of magnitude 9, Mixup 0.8, CutMix 1.0, erasing 0.25,
          label smoothing 0.1, drop path 0.1; layer decay 0.85, lr 4e-3 at batch 1024.
Source    The authors' default fine-tuning recipe. Their colour jitter of 0.4 has no effect beside
          RandAugment, and is left out here.
Expected  76.1% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_original_300e.py 8 --amp
"""

_base_ = [
    '../_base_/models/vit-tiny_cls.py',
    '../_base_/datasets/imagenet_train.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(
        drop_path_rate=0.1,
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors',
        ),
    ),
    head=dict(label_smoothing=0.1),
)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
