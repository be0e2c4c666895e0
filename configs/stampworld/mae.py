"""The student of the stamp world, pre-trained by MAE alone.

What      `configs/toyworld/mae_student.py` with the stamp world's images.
Source    Ours.
Run       tools/train.py configs/stampworld/mae.py
"""

_base_ = '../toyworld/mae_teacher.py'

model = dict(backbone=dict(arch=dict(embed_dim=128, depth=6, num_heads=4)))
data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(max_iters=200)
