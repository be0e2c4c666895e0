"""MAE-Tiny, fine-tuned by the improved recipe, 1000 epochs.

What      `finetune_mae_vit-tiny_300e.py` for longer.
Source    The authors' improved fine-tuning recipe.
Expected  78.5% top-1, 85.3 on ReaL, 67.1 on V2 (paper). Not run by us.
Cost      Not known; 1000 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_1000e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
train_cfg = dict(max_epochs=1000)
