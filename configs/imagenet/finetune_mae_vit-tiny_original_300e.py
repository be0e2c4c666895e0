"""MAE-Tiny, fine-tuned by the original recipe, 300 epochs.

What      MAE's recipe for large models: RandAugment of magnitude 9, Mixup 0.8, CutMix 1.0, erasing
          0.25, label smoothing 0.1, drop path 0.1; layer decay 0.85, lr 4e-3 at batch 1024.
Source    The authors' default fine-tuning recipe. Their colour jitter of 0.4 has no effect beside
          RandAugment, and is left out here.
Expected  76.1% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_original_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_original.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
