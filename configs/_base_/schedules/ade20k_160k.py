"""160 000 iterations of AdamW at 1e-4, layer decay 0.8, warm-up of 1500, linear to 0, batch 16."""

max_iters = 160000
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(
        type='mmengine.PolyLR',
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=1500,
        end=max_iters,
    ),
]
train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=16000)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=16)
