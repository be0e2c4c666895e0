"""A small vision transformer for the toy world, pre-trained by SimMIM on its unlabelled images.

What      The SimMIM recipe made small: width 128, depth 6, 8-px patches, crops of 64 px.
Source    Ours.
Run       tools/train.py configs/toyworld/simmim.py
"""

_base_ = [
    '../_base_/models/simmim_vit-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    mask_unit=16,
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=50),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
