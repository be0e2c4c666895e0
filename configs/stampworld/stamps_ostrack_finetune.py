"""A small one-stream tracker on the stamp world's videos, from a pre-trained backbone.

What      `stamps_ostrack_scratch.py` with the backbone of `stamps_mae.py` or another.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_ostrack_finetune.py \
          --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = '../_base_/tasks/stampworld_ostrack.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/stamps_mae/backbone.safetensors',
        ),
    ),
)
