"""The student of the stamp world, pre-trained by D-MAE with DINOv2 ViT-S/14 as the teacher.

What      `configs/toyworld/dmae_dinov2.py` with the stamp world's images.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_dmae_dinov2.py
"""

_base_ = '../_base_/tasks/toyworld_dmae_dinov2.py'

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
