"""Mask R-CNN, Hiera-Tiny from MAE, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_hiera-tiny.py` from the MAE backbone.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_mae_hiera-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_hiera-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_hiera-tiny/backbone.safetensors'))
)
