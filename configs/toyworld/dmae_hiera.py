"""A smaller Hiera of the toy world, pre-trained by D-MAE: MAE plus a Hiera teacher's attention.

What      The D-MAE recipe of Hiera made small: width 16, blocks 1-1-3-2; its last block follows the
          last block of `mae_hiera.py`'s network on the same visible units.
Source    Ours: hyper-parameters are stand-ins that fit a minute or two of a CPU.
Run       tools/train.py configs/toyworld/dmae_hiera.py
"""

_base_ = './mae_hiera.py'

model = dict(
    backbone=dict(arch=dict(embed_dim=16, stages=(1, 1, 3, 2))),
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.Hiera',
            arch=dict(embed_dim=24, stages=(1, 1, 4, 2), num_heads=1, patch_stride=2),
            img_size=64,
            q_pool=2,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='work_dirs/mae_hiera/backbone.safetensors',
            ),
        ),
        pairs=[(7, 8)],
        loss_weight=1.0,
    ),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
