"""D-MAE on a small image set: the last layer follows that of a network of width 128."""

_base_ = './small_sets_mae.py'

model = dict(
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.VisionTransformer',
            arch=dict(embed_dim=128, depth=6, num_heads=4),
            img_size=28,
            patch_size=7,
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
