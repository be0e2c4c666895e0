"""D²-MAE-Tiny with relative positions, 1000 epochs: the papers' best ViT-Tiny.

What      `finetune_mae_vit-tiny-rpe_1000e.py` from the D²-MAE backbone, with its query, key and
          value biases.
Source    The authors' relative position variant (qv_bias=False).
Expected  79.4% top-1 (paper). Not run by us.
Cost      Not known; 1000 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_d2mae_vit-tiny-rpe_1000e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(
        rel_pos=dict(kind='bias'),
        init_cfg=dict(checkpoint='work_dirs/d2mae_vit-tiny/backbone.safetensors'),
    ),
    head=dict(init_std=2e-5),  # 0.02 x 0.001
)
train_cfg = dict(max_epochs=1000)
