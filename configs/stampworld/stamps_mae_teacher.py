"""A small teacher for the stamp world, pre-trained by MAE on its unlabelled images.

What      `configs/toyworld/mae_teacher.py` with the stamp world's images.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_mae_teacher.py
"""

_base_ = '../_base_/tasks/toyworld_mae.py'

model = dict(backbone=dict(arch=dict(embed_dim=192, num_heads=6)))

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
