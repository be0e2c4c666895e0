"""ViT-Tiny from scratch under a teacher's hard decisions, 300 epochs.

What      `finetune_mae_vit-tiny_hard-distillation_300e.py` from nothing.
Source    The authors' default recipe with DeiT's teacher, a RegNetY-16GF of 82.9% top-1.
Expected  75.9% top-1, 77.8 after 1000 epochs (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_scratch_vit-tiny_hard-distillation_300e.py \
          8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_distillation.py'

model = dict(backbone=dict(init_cfg=None))
