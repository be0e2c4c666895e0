"""The student of the stamp world, pre-trained by D²-MAE with DINOv2 ViT-S/14 as the teacher.

What      `configs/toyworld/d2mae_dinov2.py` with the stamp world's images.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_d2mae_dinov2.py
"""

_base_ = '../_base_/tasks/toyworld_dmae_dinov2.py'

model = dict(reconstruct_after=4, distiller=dict(pairs=[(7, 12)], extra_layer=True))

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
