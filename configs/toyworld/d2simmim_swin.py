"""A smaller Swin of the toy world, pre-trained by D²-SimMIM: decoupled distillation.

What      The D²-SimMIM recipe made small: width 12; the decoder reads what the second stage hands
          on (block 2), a query-key block behind block 8 follows the last block of
          `simmim_swin.py`'s network on the same masked images.
Source    Ours: hyper-parameters are stand-ins that fit a minute or two of a CPU.
Run       tools/train.py configs/toyworld/d2simmim_swin.py
"""

_base_ = './simmim_swin.py'

model = dict(
    backbone=dict(arch=dict(embed_dim=12)),
    reconstruct_after=2,
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.SwinTransformer',
            arch=dict(embed_dim=24, depths=(1, 1, 4, 2), num_heads=3),
            img_size=64,
            patch_size=2,
            window_size=4,
            mask_token=True,
            final_norm=False,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='work_dirs/simmim_swin/backbone.safetensors',
            ),
        ),
        pairs=[(9, 8)],
        extra_layer=True,
        loss_weight=1.0,
    ),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
