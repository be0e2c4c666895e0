"""Semantic FPN, ViT-Tiny from supervised training (DeiT), ADE20K, 512 px, 160 000 iterations.

What      `semfpn_dmae_tiny.py` from the backbone of `imagenet/deit_vit-tiny_improved_300e.py`.
Source    The authors' mmsegmentation configuration.
Expected  38.0 mIoU (paper). Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_deit_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/deit_vit-tiny_improved_300e/backbone.safetensors')
    )
)

expected = [('mIoU', 38.0, 0.5)]
