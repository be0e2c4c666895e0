"""Mask R-CNN, Swin-Tiny (width 48) from D²-SimMIM, COCO 2017, 640 px, 100 epochs.

What      The recipe of `maskrcnn_dmae_tiny.py` on Swin-Tiny, whose own maps at strides 4 to 32,
          each with a LayerNorm, feed a feature pyramid. Windows of 7, shifted in every other block.
Source    Ours: the pre-training is the authors', they publish no detector for Swin. The pyramid is
          Lin et al.'s (2017) with LN, norms and decay are those of Swin's detectors; heads and
          schedule are those of ViT-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_d2simmim_swin-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_swin-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/d2simmim_swin-tiny/backbone.safetensors'))
)
