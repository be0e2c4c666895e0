"""A small teacher for the toy world, pre-trained by MAE on its unlabelled images.

What      The MAE recipe made small: width 192, depth 6, 8-px patches, crops of 64 px.
Source    Ours.
Run       tools/train.py configs/toyworld/mae_teacher.py
"""

_base_ = [
    '../_base_/models/mae_vit-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=6),
        img_size=64,
        patch_size=8,
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
)
auto_scale_lr = dict(base_batch_size=128)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=50),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
