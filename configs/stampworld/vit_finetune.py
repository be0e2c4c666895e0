"""Classification on a tenth of the stamp world's labels, from a pre-trained backbone.

What      `vit_scratch.py` with the backbone of `mae.py` or another.
Source    Ours.
Run       tools/train.py configs/stampworld/vit_finetune.py \
          --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = '../_base_/tasks/toyworld_vit.py'

num_classes = 9
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae/backbone.safetensors',
        ),
    ),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/imagenet/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
