"""UperNet on the stamp world: the toy world's; a leaf may name a checkpoint."""

_base_ = './toyworld_upernet.py'

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/ade20k/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
