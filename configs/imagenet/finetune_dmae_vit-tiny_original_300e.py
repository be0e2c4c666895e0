"""D-MAE-Tiny, fine-tuned by the original recipe, 300 epochs.

What      `finetune_mae_vit-tiny_original_300e.py` from the D-MAE backbone.
Source    The authors' default fine-tuning recipe.
Expected  76.5% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_dmae_vit-tiny_original_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny_original.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors')),
)
