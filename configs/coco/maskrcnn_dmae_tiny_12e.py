"""Mask R-CNN, ViT-Tiny from D-MAE, COCO 2017, 640 px, 12 epochs at batch 16.

What      A short schedule for one or two GPUs: 16 images a step, 88 500 iterations, the learning
          rate halved with a quarter of the batch, steps at 8/12 and 11/12.
Source    Model and data are `maskrcnn_dmae_tiny.py`'s; the schedule is ours, with mmdet's 1x steps.
Expected  Nothing is published for it. Not run by us.
Cost      An eighth of the 100 epochs.
Run       tools/dist_train.sh configs/coco/maskrcnn_dmae_tiny_12e.py 2 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny_12e.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)

expected = None  # nothing is published
