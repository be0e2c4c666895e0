"""110 iterations of AdamW, 20 of warm-up, cosine to 0."""

max_iters, warmup = 110, 20
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No decay of vectors: biases and norms.
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max=max_iters - warmup,
        eta_min=0.0,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
    ),
]
train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=10**9)
log_processor = dict(by_epoch=False)
