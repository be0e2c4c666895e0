"""D²-MAE-Tiny, fine-tuned by the improved recipe, 1000 epochs.

What      `finetune_d2mae_vit-tiny_300e.py` for longer.
Source    The authors' improved fine-tuning recipe. They publish 1000 epochs with relative positions
          only.
Expected  Not published. Not run by us.
Cost      Not known; 1000 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_d2mae_vit-tiny_1000e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/d2mae_vit-tiny/backbone.safetensors')),
)
train_cfg = dict(max_epochs=1000)
