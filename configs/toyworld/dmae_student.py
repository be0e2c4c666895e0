"""The student of the toy world, pre-trained by D-MAE: MAE plus the teacher's attention.

What      The D-MAE recipe made small: width 128, depth 6, 8-px patches, crops of 64 px; its last
          layer follows the last layer of `mae_teacher.py`'s network.
Source    Ours.
Run       tools/train.py configs/toyworld/dmae_student.py
"""

_base_ = '../_base_/tasks/toyworld_dmae.py'
