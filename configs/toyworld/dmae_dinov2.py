"""The student of the toy world, pre-trained by D-MAE with DINOv2 ViT-S/14 as the teacher.

What      The last layer follows DINOv2's last one, whose heads are standardised.
Source    Ours.
Data      The teacher's file: tools/model_converters/fetch_teacher.py dinov2-small
Cost      Two seconds of a CPU core an iteration.
Run       tools/train.py configs/toyworld/dmae_dinov2.py
"""

_base_ = '../_base_/tasks/toyworld_dmae_dinov2.py'
