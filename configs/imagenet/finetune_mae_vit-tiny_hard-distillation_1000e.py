"""MAE-Tiny, fine-tuned under a teacher's hard decisions, 1000 epochs.

What      `finetune_mae_vit-tiny_hard-distillation_300e.py` for longer.
Source    The authors' default recipe with DeiT's teacher, a RegNetY-16GF of 82.9% top-1.
Expected  78.4% top-1 (paper). Not run by us.
Cost      Not known; 1000 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_hard-distillation_1000e.py 8 \
          --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_distillation.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
train_cfg = dict(max_epochs=1000)
