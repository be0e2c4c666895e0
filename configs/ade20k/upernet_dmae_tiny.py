"""UperNet, ViT-Tiny from D-MAE, ADE20K, 512 px, 160 000 iterations.

What      Maps of blocks 3, 5, 7 and 11 at four resolutions, UperNet (Xiao et al. 2018) of 192
          channels with an auxiliary head, layer decay 0.8, drop path 0.1, sliding windows in
          testing.
Source    UperNet on plain ViTs as mmsegmentation has it for MAE ViT-Base, with the width of its
          head that of the backbone there too; layer decay, drop path and schedule are the authors'
          for Semantic FPN on ViT-Tiny. The backbone is pre-training's: no relative positions or
          LayerScale, positions of 14 x 14 patches resized in every step and, like the class token,
          not decayed.
Expected  Nothing is published for UperNet from these weights. Not run by us.
Cost      8 GPUs, 16 images a step.
Run       tools/dist_train.sh configs/ade20k/upernet_dmae_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)
