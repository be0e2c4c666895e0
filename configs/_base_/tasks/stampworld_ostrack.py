"""The one-stream tracker on the stamp world: the toy world's; a leaf may name a checkpoint."""

_base_ = './toyworld_ostrack.py'

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/lasot/'
train_dataloader = dict(
    dataset=dict(sets=[dict(type='tracking.LaSOT', data_root=data_root, split='train')])
)
val_dataloader = dict(
    dataset=dict(sets=[dict(type='tracking.LaSOT', data_root=data_root, split='test')])
)
test_dataloader = dict(dataset=dict(sequences=dict(data_root=data_root)))
