"""OSTrack-256 on ViT-Tiny without pre-training; otherwise as from D-MAE.

What      `ostrack256_dmae_tiny.py` from random weights.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `ostrack256_dmae_tiny.py`.
Run       tools/dist_train.sh configs/lasot/ostrack256_scratch_tiny.py 4
"""

_base_ = '../_base_/tasks/ostrack256_tiny.py'

model = dict(backbone=dict(init='timm', init_cfg=None))

expected = None
