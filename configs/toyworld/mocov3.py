"""A small vision transformer for the toy world, pre-trained by MoCo-v3 on its unlabelled images.

What      The MoCo-v3 recipe made small: width 96, depth 4, 8-px patches, views of 64 px, heads of
          256; a faster momentum encoder, as there are 110 steps only. Batch normalisation is each
          process's own, as torch's common one needs GPUs.
Source    Ours.
Run       tools/train.py configs/toyworld/mocov3.py
"""

_base_ = [
    '../_base_/models/mocov3_vit-tiny.py',
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=4, num_heads=4),
        img_size=64,
        patch_size=8,
    ),
    hidden=256,
    out_channels=64,
)
shared = [
    dict(
        type='lightvit_dense.RandomResizedCrop',
        size=64,
        scale=(0.25, 0.8),
        interpolation='bilinear',
        backend='cv2',
    ),
    dict(
        type='lightvit_dense.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        prob=0.8,
    ),
    dict(type='lightvit_dense.RandomGrayscale', prob=0.2),
    dict(type='lightvit_dense.RandomFlip', prob=0.5),
]
first = [*shared, dict(type='lightvit_dense.GaussianBlur', sigma=(0.1, 1.0), prob=0.5)]
second = [*shared, dict(type='lightvit_dense.Solarize', prob=0.2)]
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(
                type='lightvit_dense.MultiView',
                views=[dict(count=1, pipeline=first), dict(count=1, pipeline=second)],
            ),
            dict(type='lightvit_dense.PackViews'),
        ],
    ),
)
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.MomentumUpdateHook', base=0.95),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
