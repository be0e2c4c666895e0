"""Supervised classification on the stamp world, from scratch.

What      `configs/toyworld/deit.py` with the student's depth, nine kinds and the stamp world's
          portraits. Validation shows strangers.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_deit.py
"""

_base_ = '../toyworld/deit.py'

num_classes = 9
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(arch=dict(depth=6)),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/imagenet/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
