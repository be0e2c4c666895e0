"""MAE-Small, fine-tuned: ViT-Small (12 heads) by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` with ViT-Small and layer decay 0.75.
Source    The authors' improved fine-tuning recipe and their instructions for ViT-Small.
Expected  82.1% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-small_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(checkpoint='work_dirs/mae_vit-small/backbone.safetensors'),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
