"""Mask R-CNN on the toy world, backbone from D-MAE.

What      `maskrcnn_scratch.py` with the backbone loaded from `dmae_student.py`; nothing else
          differs.
Source    Ours.
Run       tools/train.py configs/toyworld/maskrcnn_dmae.py
"""

_base_ = '../_base_/tasks/toyworld_maskrcnn.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_student/backbone.safetensors',
        )
    )
)
