"""The student of the toy world, pre-trained by D²-MAE with DINOv2 ViT-S/14 as the teacher.

What      The decoder reads block 4; a query-key block behind block 6 follows DINOv2's last layer,
          whose heads are standardised.
Source    Ours.
Data      The teacher's file: tools/model_converters/fetch_teacher.py dinov2-small
Cost      Two seconds of a CPU core an iteration.
Run       tools/train.py configs/toyworld/d2mae_dinov2.py
"""

_base_ = '../_base_/tasks/toyworld_dmae_dinov2.py'

model = dict(reconstruct_after=4, distiller=dict(pairs=[(7, 12)], extra_layer=True))
