"""MAE on a small image set: width 96, depth 6, 7-px patches, 28 px."""

_base_ = ['../models/mae_vit-tiny.py', '../default_runtime.py']
default_scope = 'lightvit_dense'

crop = 28
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=6, num_heads=3),
        img_size=crop,
        patch_size=7,
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        with_labels=False,
        data_root='{{$LIGHTVIT_DATA:data}}/small/fashion-mnist/',
        img_dir='train',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=crop,
                scale=(0.4, 1.0),
                interpolation='bilinear',
                backend='cv2',
            ),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)

max_iters = 1600
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No decay of vectors: biases and norms.
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR', warmup=80, end=max_iters, by_epoch=False
)
train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=10**9)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(interval=400, by_epoch=False, max_keep_ckpts=1),
)
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
