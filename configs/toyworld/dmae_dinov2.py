"""The student of the toy world, pre-trained by D-MAE with DINOv2 ViT-S/14 as the teacher.

What      MAE, and the student's last layer follows DINOv2's last one, whose heads are standardised.
Source    Ours.
Cost      Half an hour of a CPU core.
Run       tools/train.py configs/toyworld/dmae_dinov2.py

The teacher's weights: `tools/model_converters/fetch_teacher.py dinov2-small`. It sees the crops of
64 px at 112 px, so that its 14-px patches line up with the student's 8-px ones.
"""

_base_ = './mae_teacher.py'

model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=6, num_heads=4)),
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
