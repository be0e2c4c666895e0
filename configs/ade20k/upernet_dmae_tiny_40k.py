"""UperNet, ViT-Tiny from D-MAE, ADE20K, 512 px, 40 000 iterations.

What      A short schedule for one GPU: `upernet_dmae_tiny.py` for a quarter of its iterations, all
          16 images of a step on one GPU.
Source    Ours.
Expected  Nothing is published for it. Not run by us.
Cost      A quarter of the 160 000 iterations.
Run       tools/dist_train.sh configs/ade20k/upernet_dmae_tiny_40k.py 1 --amp
"""

_base_ = '../_base_/tasks/upernet_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)
max_iters = 40000
train_dataloader = dict(batch_size=16)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(
        type='mmengine.PolyLR',
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=1500,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=8000)
