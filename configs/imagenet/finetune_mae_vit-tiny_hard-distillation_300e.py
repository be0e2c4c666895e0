"""MAE-Tiny, fine-tuned under a teacher's hard decisions, 300 epochs.

What      `finetune_mae_vit-tiny_original_300e.py`; the class token learns the label that
          RegNetY-16GF gives, the patches the true one, and their scores are averaged at test.
Source    The authors' default recipe with DeiT's teacher, a RegNetY-16GF of 82.9% top-1.
Expected  76.9% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_hard-distillation_300e.py 8 \
          --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_distillation.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
