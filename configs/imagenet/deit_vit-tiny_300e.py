"""DeiT-Tiny: ViT-Tiny with 12 heads, supervised on ImageNet-1k from scratch, DeiT's recipe.

What      Class token, Mixup 0.8, CutMix 1.0, random erasing 0.25, label smoothing 0.1, drop path
          0.1, repeated augmentation, averaged weights (0.99996), lr 1e-3 at batch 1024.
Source    Touvron et al. 2021 and the defaults of DeiT's code. Its colour jitter has no effect
          beside RandAugment there, and is left out here. Validation reads the averaged weights.
Expected  Not published for 12 heads; DeiT's own 3 heads: 72.2% top-1 (Touvron et al.). Not run by
          us. The papers' 74.5 is `finetune_scratch_vit-tiny_original_300e.py`, and their DeiT-Tiny
          downstream is `deit_vit-tiny_improved_300e.py`.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/deit_vit-tiny_300e.py 8 --amp
"""

_base_ = [
    '../_base_/models/vit-tiny_cls.py',
    '../_base_/datasets/imagenet_train.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/schedules/supervised_300e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(final_norm=True, drop_path_rate=0.1),
    head=dict(pool='cls', norm=False, label_smoothing=0.1),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='lightvit_dense.RepeatedAugmentSampler', repeats=3)
)
engine = dict(ema=dict(_delete_=True, momentum=4e-5))  # 1 - 0.99996
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
