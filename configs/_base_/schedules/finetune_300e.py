"""AdamW, layer decay 0.85, 300 epochs, 5 of warm-up from 0, cosine to 1e-6, batch 1024."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
    # 1e-3 for 256 images, linear: 1e-3 * 1024 / 256
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR',
    warmup=5,
    eta_min_ratio=2.5e-4,  # a ratio, so that it follows layer decay
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=1024)
