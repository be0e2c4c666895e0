"""Semantic FPN, ViT-Tiny from scratch, ADE20K, 512 px, 160 000 iterations.

What      `semfpn_dmae_tiny.py` without pre-training.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_scratch_tiny.py 8
"""

_base_ = './semfpn_dmae_tiny.py'

model = dict(backbone=dict(init_cfg=None))
