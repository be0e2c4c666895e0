"""UperNet, ViT-Tiny from SimMIM, ADE20K, 512 px, 160 000 iterations.

What      `upernet_dmae_tiny.py` from the backbone of `pretrain/simmim_vit-tiny.py`.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `upernet_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/upernet_simmim_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/simmim_vit-tiny/backbone.safetensors'))
)
