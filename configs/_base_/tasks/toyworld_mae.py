"""MAE on the toy world's unlabelled images: width 128, depth 6, 8-px patches, crops of 64 px."""

_base_ = [
    '../models/mae_vit-tiny.py',
    '../datasets/toyworld_pretrain.py',
    '../schedules/toyworld_pretrain.py',
    '../toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=64,
        patch_size=8,
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
)
train_cfg = dict(max_iters=200)
auto_scale_lr = dict(base_batch_size=128)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=50),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
