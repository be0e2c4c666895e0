"""D-MAE-Tiny with DINOv3 ViT-S/16 as the teacher.

What      Rotary positions and four register tokens, which are left out of the comparison.
Source    Ours.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_dinov3-small-teacher_vit-tiny.py 8 \
          --amp --work-dir work_dirs/dmae_dinov3-small-teacher_vit-tiny

The teacher's weights are timm's `vit_small_patch16_dinov3.lvd1689m`, saved as a file:
`timm.create_model('vit_small_patch16_dinov3.lvd1689m', pretrained=True)`, then its state dict by
`safetensors.torch.save_file` to `checkpoints/vit_small_patch16_dinov3.lvd1689m.safetensors`.
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(
    distiller=dict(
        teacher=dict(
            type='lightvit_dense.TimmTeacher',
            _delete_=True,
            name='vit_small_patch16_dinov3.lvd1689m',
            img_size=224,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/vit_small_patch16_dinov3.lvd1689m.safetensors',
            ),
        ),
        tokens='class',
    )
)
