"""Swin-Tiny (width 48), fine-tuned from D²-SimMIM by the improved recipe, 300 epochs.

What      `finetune_simmim_swin-tiny_300e.py` from the distilled backbone.
Source    As there.
Expected  77.8% top-1 (paper). Not run by us.
Cost      As there.
Run       tools/dist_train.sh configs/imagenet/finetune_d2simmim_swin-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_swin-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/d2simmim_swin-tiny/backbone.safetensors')),
)
