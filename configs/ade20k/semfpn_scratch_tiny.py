"""Semantic FPN, ViT-Tiny from scratch, ADE20K, 512 px, 160 000 iterations.

What      `semfpn_dmae_tiny.py` without pre-training: linear layers start from N(0, 0.02).
Source    As there, and mmsegmentation's initial values, but for the positions and the patch
          embedding, which start at 0 and from Kaiming's normal there, from N(0, 0.02) and torch's
          default here.
Expected  Nothing is published for it. Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_scratch_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(backbone=dict(init='timm', init_cfg=None))
