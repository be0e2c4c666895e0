"""D-MAE-Tiny with CLIP ViT-B/16 as the teacher.

What      The teacher gets images normalised its own way.
Source    Ours.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_clip-base-teacher_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_clip-base-teacher_vit-tiny

The teacher's weights are timm's `vit_base_patch16_clip_224.openai`, saved as a file:
`timm.create_model('vit_base_patch16_clip_224.openai', pretrained=True)`, then its state dict by
`safetensors.torch.save_file` to `checkpoints/vit_base_patch16_clip_224.openai.safetensors`.
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(
    distiller=dict(
        teacher=dict(
            type='lightvit_dense.TimmTeacher',
            _delete_=True,
            name='vit_base_patch16_clip_224.openai',
            img_size=224,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/vit_base_patch16_clip_224.openai.safetensors',
            ),
        ),
        teacher_input=dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323]),
    )
)
