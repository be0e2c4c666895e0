"""The student of the stamp world, pre-trained by MAE alone.

What      `configs/toyworld/mae_student.py` with the stamp world's images.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_mae.py
"""

_base_ = '../_base_/tasks/toyworld_mae.py'

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
