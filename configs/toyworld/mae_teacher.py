"""A small teacher for the toy world, pre-trained by MAE on its unlabelled images.

What      The MAE recipe made small: width 192, depth 6, 8-px patches, crops of 64 px.
Source    Ours.
Run       tools/train.py configs/toyworld/mae_teacher.py
"""

_base_ = '../_base_/tasks/toyworld_mae.py'

model = dict(backbone=dict(arch=dict(embed_dim=192, num_heads=6)))
train_cfg = dict(max_iters=110)
