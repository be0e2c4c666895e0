"""Mask R-CNN on the stamp world, from scratch.

What      `configs/toyworld/maskrcnn_scratch.py` with the stamp world's data; what is tested are
          strangers.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_maskrcnn_scratch.py
"""

_base_ = '../_base_/tasks/stampworld_maskrcnn.py'
