"""SGD with Nesterov momentum, layer decay 0.75, 100 epochs, 20 of warm-up, cosine, batch 512."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR',
    warmup=20,
    eta_min_ratio=1e-6 / 0.03,  # follows layer decay; another lr needs another ratio
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=512)
