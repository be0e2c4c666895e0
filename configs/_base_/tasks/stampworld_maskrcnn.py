"""Mask R-CNN on the stamp world: the toy world's, of nine kinds; a leaf may name a checkpoint."""

_base_ = './toyworld_maskrcnn.py'

num_classes = 9
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes))
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
metainfo = dict(
    classes=(
        'bird',
        'fish',
        'flower',
        'fruit',
        'instrument',
        'mammal',
        'tool',
        'vegetable',
        'vehicle',
    )
)
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
