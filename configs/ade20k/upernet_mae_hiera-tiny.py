"""UperNet, Hiera-Tiny from MAE, ADE20K, 512 px, 160 000 iterations.

What      `upernet_dmae_hiera-tiny.py` from the MAE backbone.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/ade20k/upernet_mae_hiera-tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_hiera-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_hiera-tiny/backbone.safetensors'))
)
