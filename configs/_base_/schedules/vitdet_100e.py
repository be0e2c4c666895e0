"""ViTDet's 100 epochs at batch 64: AdamW 1e-4, weight decay 0.05, no layer decay."""

max_iters = 184375  # 100 epochs of 118 000 images, 64 a step
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # As in detectron2, whose list of norms lacks the channel-first LayerNorm of pyramid and heads:
    # these are decayed, and biases; the transformer's norms and positions are not.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            neck=dict(decay_mult=1.0),
            roi_head=dict(decay_mult=1.0),
        ),
    ),
)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(
        type='mmengine.MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[163888, 177546],  # 24/27 and 26/27
        gamma=0.1,
    ),
]
train_cfg = dict(
    type='mmengine.IterBasedTrainLoop',
    max_iters=max_iters,
    val_interval=10000,
    dynamic_intervals=[(180001, max_iters)],  # so that the last, shorter stretch is validated too
)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=64)
