"""The student of the stamp world, pre-trained by D²-MAE.

What      `configs/toyworld/d2mae_student.py` with the stamp world's images and `mae_teacher.py`'s
          network.
Source    Ours.
Run       tools/train.py configs/stampworld/d2mae.py
"""

_base_ = '../toyworld/mae_teacher.py'

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
data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(max_iters=200)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
