"""Mask R-CNN on the toy world, backbone from MAE.

What      `maskrcnn_scratch.py` with the backbone loaded from `mae_student.py`; nothing else
          differs.
Source    Ours.
Run       tools/train.py configs/toyworld/maskrcnn_mae.py
"""

_base_ = '../_base_/tasks/toyworld_maskrcnn.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_student/backbone.safetensors',
        )
    )
)
