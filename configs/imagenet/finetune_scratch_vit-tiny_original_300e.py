"""ViT-Tiny from scratch by the original recipe of fine-tuning, 300 epochs.

What      `finetune_mae_vit-tiny_original_300e.py` from nothing.
Source    The authors' default fine-tuning recipe: mean of the patch tokens, layer decay 0.85.
Expected  74.5% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_scratch_vit-tiny_original_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_original.py'

model = dict(backbone=dict(init_cfg=None))
