"""D-MAE-Tiny with a supervised DeiT-Base as the teacher.

What      The teacher learned from labels; the papers' learned by MAE.
Source    Ours.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_deit-base-teacher_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_deit-base-teacher_vit-tiny

The teacher's weights are timm's `deit_base_patch16_224.fb_in1k`, saved as a file:
`timm.create_model('deit_base_patch16_224.fb_in1k', pretrained=True)`, then its state dict by
`safetensors.torch.save_file` to `checkpoints/deit_base_patch16_224.fb_in1k.safetensors`.
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(
    distiller=dict(
        teacher=dict(
            type='lightvit_dense.TimmTeacher',
            _delete_=True,
            name='deit_base_patch16_224.fb_in1k',
            img_size=224,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/deit_base_patch16_224.fb_in1k.safetensors',
            ),
        ),
    )
)
