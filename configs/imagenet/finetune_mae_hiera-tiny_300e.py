"""Hiera-Tiny, fine-tuned from MAE by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` with Hiera-Tiny; layer decay counts its 12 blocks.
Source    The authors' improved fine-tuning recipe; the file that they name for Hiera is not
          published.
Expected  78.5% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_hiera-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_hiera-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_hiera-tiny/backbone.safetensors'))
)
