"""D-MAE on the toy world: the last layer follows that of a wider network, pre-trained there."""

_base_ = './toyworld_mae.py'

model = dict(
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.VisionTransformer',
            arch=dict(embed_dim=192, depth=6, num_heads=6),
            img_size=64,
            patch_size=8,
            pos_embed='sincos',
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='work_dirs/mae_teacher/backbone.safetensors',
            ),
        ),
        pairs=[(6, 6)],
        loss_weight=1.0,
    ),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
