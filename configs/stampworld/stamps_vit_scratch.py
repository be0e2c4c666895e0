"""Classification on a tenth of the stamp world's labels, from scratch.

What      `configs/toyworld/vit_scratch.py` with nine kinds and the stamp world's portraits.
          Validation shows strangers.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_vit_scratch.py
"""

_base_ = '../_base_/tasks/toyworld_vit.py'

num_classes = 9
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/imagenet/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
