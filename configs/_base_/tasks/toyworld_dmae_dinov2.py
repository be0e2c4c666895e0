"""D-MAE on the toy world, taught by DINOv2 ViT-S/14.

The teacher sees the crops of 64 px at 112 px, so that its 14-px patches line up with the student's
8-px ones. Its file: tools/model_converters/fetch_teacher.py dinov2-small
"""

_base_ = './toyworld_mae.py'

model = dict(
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.TimmTeacher',
            name='vit_small_patch14_dinov2.lvd142m',
            img_size=112,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/vit_small_patch14_dinov2.lvd142m.safetensors',
            ),
        ),
        teacher_input=dict(size=112),
        target='standardized',
        pairs=[(6, 12)],
        loss_weight=1.0,
    ),
)
param_scheduler = dict(warmup=60)
train_cfg = dict(max_iters=1000)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.AttentionAgreementHook', interval=50),
]
