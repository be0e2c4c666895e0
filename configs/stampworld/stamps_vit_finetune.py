"""Classification on a tenth of the stamp world's labels, from a pre-trained backbone.

What      `stamps_vit_scratch.py` with the backbone of `stamps_mae.py` or another.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_vit_finetune.py \
          --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = '../_base_/tasks/toyworld_vit.py'

num_classes = 9
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/stamps_mae/backbone.safetensors',
        ),
    ),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/imagenet/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
