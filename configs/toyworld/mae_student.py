"""The student of the toy world, pre-trained by MAE alone, to compare D-MAE with.

What      `dmae_student.py` without the teacher; the same network, images and iterations.
Source    Ours.
Run       tools/train.py configs/toyworld/mae_student.py
"""

_base_ = './mae_teacher.py'

model = dict(backbone=dict(arch=dict(embed_dim=128, depth=6, num_heads=4)))
train_cfg = dict(max_iters=200)
