"""The student of the toy world, pre-trained by D-MAE: MAE plus the teacher's attention.

What      The D-MAE recipe made small: width 128, depth 6, 8-px patches, crops of 64 px; its last
          layer follows the last layer of `mae_teacher.py`'s network.
Source    Ours.
Run       tools/train.py configs/toyworld/dmae_student.py
"""

_base_ = './mae_teacher.py'

model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=6, num_heads=4)),
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
train_cfg = dict(max_iters=200)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
