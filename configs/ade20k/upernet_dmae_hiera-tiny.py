"""UperNet, Hiera-Tiny from D-MAE, ADE20K, 512 px, 160 000 iterations.

What      `upernet_dmae_tiny.py` on Hiera-Tiny, whose own maps at strides 4 to 32 go to the head.
Source    The pre-training is the authors'; they publish no segmentation with Hiera-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/ade20k/upernet_dmae_hiera-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_hiera-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_hiera-tiny/backbone.safetensors'))
)
