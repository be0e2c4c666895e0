"""MoCo-v3-Tiny, fine-tuned by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` from the MoCo-v3 backbone, with layer decay 0.75.
Source    The authors' improved fine-tuning recipe and their instructions for MoCo-v3.
Expected  76.8% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mocov3_vit-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mocov3_vit-tiny/backbone.safetensors')),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
