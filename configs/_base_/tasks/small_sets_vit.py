"""Classification of a small image set; a leaf may name a checkpoint."""

_base_ = ['../models/vit-tiny_cls.py', '../default_runtime.py']
default_scope = 'lightvit_dense'

crop, num_classes = 28, 10
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=6, num_heads=3),
        img_size=crop,
        patch_size=7,
    ),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/small/fashion-mnist/'
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        data_root=data_root,
        img_dir='train',
        classes='classes.txt',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=crop,
                scale=(0.5, 1.0),
                interpolation='bilinear',
                backend='cv2',
            ),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        data_root=data_root,
        img_dir='val',
        classes='classes.txt',
        test_mode=True,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(type='lightvit_dense.CenterResizedCrop', size=crop, ratio=1.0),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='lightvit_dense.Accuracy', topk=(1,))
test_evaluator = val_evaluator

max_iters = 250
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR', warmup=25, end=max_iters, by_epoch=False
)
train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(interval=max_iters, by_epoch=False, save_optimizer=False),
)
