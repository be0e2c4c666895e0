"""AdamW, 400 epochs, 40 of warm-up, cosine to 0 by iteration, batch 4096."""

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    # 1.5e-4 for 256 images, linear: 1.5e-4 * 4096 / 256
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No decay of vectors: biases and norms.
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR', warmup=40, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=400)
auto_scale_lr = dict(base_batch_size=4096)
