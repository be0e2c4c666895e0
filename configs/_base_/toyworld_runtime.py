"""The runtime of pre-training on the toy world: short runs, logged and saved often."""

_base_ = './default_runtime.py'

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=50, by_epoch=False, max_keep_ckpts=1),
)
