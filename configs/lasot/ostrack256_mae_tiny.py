"""OSTrack-256 on ViT-Tiny from MAE; otherwise as from D-MAE.

What      `ostrack256_dmae_tiny.py` from the backbone of `pretrain/mae_vit-tiny.py`.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `ostrack256_dmae_tiny.py`.
Run       tools/dist_train.sh configs/lasot/ostrack256_mae_tiny.py 4
"""

_base_ = '../_base_/tasks/ostrack256_tiny.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))

expected = None
