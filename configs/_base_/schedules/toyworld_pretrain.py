"""110 iterations of AdamW, 20 of warm-up, cosine to 0."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No decay of vectors: biases and norms.
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR', warmup=20, start_factor=0.01, by_epoch=False
)
train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=110, val_interval=10**9)
log_processor = dict(by_epoch=False)
