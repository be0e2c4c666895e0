"""MAE-Tiny, fine-tuned: ViT-Tiny on ImageNet-1k by the improved recipe, 300 epochs.

What      Mean of the patch tokens, RandAugment of magnitude 10, Mixup 0.2, layer decay 0.85, lr
          4e-3 at batch 1024; no CutMix, erasing, label smoothing or drop path.
Source    The authors' improved fine-tuning recipe. Their colour jitter of 0.3 has no effect beside
          RandAugment, and is left out here.
Expected  78.0% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

# Any checkpoint that is understood, see docs/checkpoints.md; None starts from nothing.
model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
