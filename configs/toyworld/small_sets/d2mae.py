"""D²-MAE on a small image set: distillation decoupled from reconstruction.

What      `mae.py`, whose decoder reads block 4, while a query-key block behind block 6 follows the
          last layer of `mae_teacher.py`'s network.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      5 minutes, besides the teacher's of a CPU core.
Run       tools/train.py configs/toyworld/small_sets/d2mae.py
"""

_base_ = './mae.py'

model = dict(
    reconstruct_after=4,
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
        pairs=[(7, 6)],
        extra_layer=True,
        loss_weight=1.0,
    ),
)
