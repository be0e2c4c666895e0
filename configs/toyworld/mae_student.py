"""The student of the toy world, pre-trained by MAE alone, to compare D-MAE with.

What      `dmae_student.py` without the teacher; the same network, images and iterations.
Source    Ours.
Run       tools/train.py configs/toyworld/mae_student.py
"""

_base_ = '../_base_/tasks/toyworld_mae.py'
