"""A small one-stream tracker on the toy world's videos, backbone from MAE.

What      `ostrack_scratch.py` with the backbone loaded from `mae_student.py`; nothing else differs.
Source    Ours.
Run       tools/train.py configs/toyworld/ostrack_mae.py
"""

_base_ = '../_base_/tasks/toyworld_ostrack.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_student/backbone.safetensors',
        )
    )
)
