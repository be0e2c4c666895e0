"""A small Hiera for the toy world, pre-trained by MAE on its unlabelled images.

What      The Hiera recipe made small: width 24, blocks 1-1-4-2, crops of 64 px with tokens of 2 px,
          so that there are 16 mask units of 16 px and predictions of 8 px.
Source    Ours: hyper-parameters are stand-ins that fit a minute or two of a CPU.
Run       tools/train.py configs/toyworld/mae_hiera.py
"""

_base_ = [
    '../_base_/models/mae_hiera-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=24, stages=(1, 1, 4, 2), num_heads=1, patch_stride=2),
        img_size=64,
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
)
train_dataloader = dict(batch_size=64)
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=50),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
