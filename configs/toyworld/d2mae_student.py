"""The student of the toy world, pre-trained by D²-MAE: distillation decoupled from reconstruction.

What      `dmae_student.py`, but the decoder reads block 4, and a query-key block behind block 6
          follows the teacher's last layer.
Source    Ours.
Cost      Two minutes on two cores.
Run       tools/train.py configs/toyworld/d2mae_student.py
"""

_base_ = '../_base_/tasks/toyworld_dmae.py'

model = dict(reconstruct_after=4, distiller=dict(pairs=[(7, 6)], extra_layer=True))
