"""Swin-Tiny (width 48), fine-tuned from SimMIM by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` with Swin-Tiny; layer decay counts its 12 blocks through
          the stages. The final norm starts anew. Tables of relative positions are not decayed.
Source    The authors' fine-tuning configuration for Swin. Its layer decay gives the head and the
          final norm the rate of block 11 (`last_id=11`); `last_id=13` would be the full rate, as
          for ViT.
Expected  77.4% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_simmim_swin-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_swin-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/simmim_swin-tiny/backbone.safetensors'))
)
