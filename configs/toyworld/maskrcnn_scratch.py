"""Mask R-CNN on the toy world, backbone from scratch.

What      The COCO recipe made small: a ViT of width 128 and depth 6, 8-px patches, narrow heads,
          few labelled images. Everything else (windows, relative position, pyramid, LN heads,
          large-scale jittering, AdamW, steps) is `configs/coco/maskrcnn_dmae_tiny.py`'s.
Source    Ours.
Run       tools/train.py configs/toyworld/maskrcnn_scratch.py
"""

_base_ = '../_base_/tasks/toyworld_maskrcnn.py'
