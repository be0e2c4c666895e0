"""D-MAE on a small image set: MAE plus the attention of a larger network.

What      `mae.py`, whose last layer follows that of `mae_teacher.py`'s network.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      5 minutes of a CPU core, after the teacher's 4.
Run       tools/train.py configs/toyworld/small_sets/dmae.py
"""

_base_ = './mae.py'

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
