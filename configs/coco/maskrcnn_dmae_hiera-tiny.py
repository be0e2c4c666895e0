"""Mask R-CNN, Hiera-Tiny from D-MAE, COCO 2017, 640 px, 100 epochs.

What      The recipe of `maskrcnn_dmae_tiny.py` on Hiera-Tiny, whose own maps at strides 4 to 32
          feed a feature pyramid. Attention is Hiera's: inside 32-px units in the first two stages,
          global in the others.
Source    The pre-training is the authors'; they publish no detector for Hiera-Tiny. The pyramid is
          Lin et al.'s (2017) with LN; heads and schedule are those of ViT-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_dmae_hiera-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_hiera-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_hiera-tiny/backbone.safetensors'))
)
