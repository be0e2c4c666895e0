"""OSTrack's 300 epochs at batch 128: AdamW 4e-4 (backbone 4e-5), a tenth of it from epoch 240."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = dict(type='mmengine.MultiStepLR', by_epoch=True, milestones=[240], gamma=0.1)
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=300, val_interval=20)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='tracking.SequenceTestLoop', decode_workers=4)
auto_scale_lr = dict(base_batch_size=128)
