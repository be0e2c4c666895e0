"""Semantic FPN, ViT-Tiny from D²-MAE, ADE20K, 512 px, 160 000 iterations.

What      `semfpn_dmae_tiny.py` from the backbone of `pretrain/d2mae_vit-tiny.py`.
Source    The authors' mmsegmentation configuration.
Expected  39.0 mIoU (paper). Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_d2mae_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/d2mae_vit-tiny/backbone.safetensors'))
)

expected = [('mIoU', 39.0, 0.5)]
