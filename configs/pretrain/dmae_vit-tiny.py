"""D-MAE-Tiny: MAE-Tiny with the attention of a MAE-pre-trained ViT-Base distilled into it.

What      The student's last layer follows the teacher's last layer; everything else is MAE-Tiny's.
Source    The authors' D-MAE configuration; ICML paper, equation 3 and figure 7.
Expected  78.4% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      44 hours on 8 RTX 2080, against 40 without distillation (authors' README).
Run       tools/dist_train.sh configs/pretrain/dmae_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_vit-tiny

The teacher is the official MAE ViT-Base (`mae_pretrain_vit_base.pth`), see README, "Pre-trained
checkpoints".
"""

_base_ = [
    '../_base_/models/mae_vit-tiny.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/schedules/pretrain_400e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.VisionTransformer',
            arch='base',
            img_size=224,
            patch_size=16,
            pos_embed='sincos',
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/mae_pretrain_vit_base.pth',
            ),
        ),
        pairs=[(12, 12)],
        loss_weight=1.0,
    )
)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=2000),
    dict(type='lightvit_dense.AttentionAgreementHook', interval=500),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
