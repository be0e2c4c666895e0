"""AdamW, 300 epochs, 5 of warm-up, cosine by iteration, batch 1024, layer decay as an option."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR',
    warmup=5,
    start_factor=1e-3,  # 1e-6
    eta_min_ratio=0.01,  # a ratio, so that it follows layer decay
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=1024)
