"""A small Swin for the toy world, pre-trained by SimMIM on its unlabelled images.

What      The SimMIM recipe of Swin made small: width 24, blocks 1-1-4-2, windows of 4, crops of 64
          px with patches of 2 px, 16 squares of 16 px.
Source    Ours: hyper-parameters are stand-ins that fit a minute or two of a CPU.
Run       tools/train.py configs/toyworld/simmim_swin.py
"""

_base_ = [
    '../_base_/models/simmim_swin-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=24, depths=(1, 1, 4, 2), num_heads=3),
        img_size=64,
        patch_size=2,
        window_size=4,
        drop_path_rate=0.0,
    ),
    decoder=dict(embed_dim=48, window_size=4),
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
