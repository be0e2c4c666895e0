"""DeiT-Tiny, improved recipe: ViT-Tiny with 12 heads, supervised on ImageNet-1k from scratch.

What      Mean of the patch tokens, RandAugment of magnitude 10, Mixup 0.2, layer decay 0.85, no
          other regularisation, lr 4e-3 at batch 1024: what suits a model this small.
Source    The authors' improved fine-tuning recipe, started from nothing. Whether they kept layer
          decay there is not published; their instructions change the checkpoint only. Their colour
          jitter has no effect beside RandAugment, and is left out here.
          Its backbone is what the papers call DeiT-Tiny downstream and in CKA.
Expected  75.8% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/deit_vit-tiny_improved_300e.py 8 --amp
"""

_base_ = [
    '../_base_/models/vit-tiny_cls.py',
    '../_base_/datasets/imagenet_train_improved.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(data_preprocessor=dict(mixup=0.2))
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
