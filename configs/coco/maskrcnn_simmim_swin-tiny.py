"""Mask R-CNN, Swin-Tiny (width 48) from SimMIM, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_d2simmim_swin-tiny.py` from the SimMIM backbone.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_simmim_swin-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_swin-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/simmim_swin-tiny/backbone.safetensors'))
)
