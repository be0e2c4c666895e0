"""Classification on a tenth of the toy world's labels, backbone from MAE.

What      `vit_scratch.py` with the backbone loaded from `mae_student.py`; nothing else differs.
Source    Ours.
Expected  Part of the suite configs/suites/toyworld.py.
Cost      2 minutes of a CPU core.
Run       tools/train.py configs/toyworld/vit_finetune.py
"""

_base_ = '../_base_/tasks/toyworld_vit.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_student/backbone.safetensors',
        )
    )
)
