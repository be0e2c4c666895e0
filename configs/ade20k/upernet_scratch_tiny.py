"""UperNet, ViT-Tiny from scratch, ADE20K, 512 px, 160 000 iterations.

What      `upernet_dmae_tiny.py` without pre-training: linear layers start from N(0, 0.02).
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `upernet_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/upernet_scratch_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_tiny.py'

model = dict(backbone=dict(init='timm', init_cfg=None))
