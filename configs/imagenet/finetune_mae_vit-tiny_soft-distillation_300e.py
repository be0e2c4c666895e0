"""MAE-Tiny, fine-tuned towards a teacher's scores, 300 epochs.

What      `finetune_mae_vit-tiny_hard-distillation_300e.py` with the teacher's whole distribution.
Source    DeiT's soft distillation; the authors' code has it, with no result published.
Expected  Not published. Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_soft-distillation_300e.py 8 \
          --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_distillation.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')),
    distiller=dict(kind='soft', tau=3.0, alpha=0.1),  # DeiT's values for it
)
