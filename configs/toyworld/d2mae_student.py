"""The student of the toy world, pre-trained by D²-MAE: distillation decoupled from reconstruction.

What      The D²-MAE recipe made small: width 128, depth 6, 8-px patches, crops of 64 px; the
          decoder reads block 4, a query-key block behind block 6 follows `mae_teacher.py`'s last
          layer.
Source    Ours.
Cost      Two minutes on two cores.
Run       tools/train.py configs/toyworld/d2mae_student.py
"""

_base_ = './mae_teacher.py'

model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=6, num_heads=4)),
    reconstruct_after=4,
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
        pairs=[(7, 6)],
        extra_layer=True,
        loss_weight=1.0,
    ),
)
train_cfg = dict(max_iters=200)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
