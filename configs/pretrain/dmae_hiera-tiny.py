"""D-MAE on Hiera-Tiny: the attention of Meta's MAE-pre-trained Hiera-Base distilled into it.

What      The student's last block (12, 8 heads) follows the teacher's last block (24, 8 heads) on
          the same visible units; everything else is `mae_hiera-tiny.py`'s. Not decoupled.
Source    The authors' Hiera configuration.
Expected  78.9% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      Not published and not measured.
Run       tools/dist_train.sh configs/pretrain/dmae_hiera-tiny.py 8 --amp

The teacher is Meta's Hiera-Base after MAE (`mae_hiera_base_224.pth`, linked by the README of the
repository `facebookresearch/hiera`). The licence of its weights is CC-BY-NC 4.0, which excludes
commercial use.
"""

_base_ = [
    '../_base_/models/mae_hiera-tiny.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/schedules/pretrain_400e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.Hiera',
            arch='base',
            img_size=224,
            q_pool=2,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/mae_hiera_base_224.pth',
            ),
        ),
        pairs=[(12, 24)],
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
