"""UperNet on the toy world, backbone from MAE.

What      `upernet_scratch.py` with the backbone loaded from `mae_student.py`; nothing else differs.
Source    Ours.
Run       tools/train.py configs/toyworld/upernet_mae.py
"""

_base_ = '../_base_/tasks/toyworld_upernet.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_student/backbone.safetensors',
        )
    )
)
