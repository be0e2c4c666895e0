"""What every experiment shares: hooks, logging, engine options."""

custom_imports = dict(imports=['lightvit_dense'], allow_failed_imports=False)

# One place for what the engine does, the same keys for every task.
engine = dict(
    amp=None,  # 'bf16' or 'fp16' on a GPU; --amp sets it
    compile=False,  # True or torch.compile's arguments, for the forward pass
    fused=True,  # fused AdamW
    accumulate=1,  # iterations an optimiser step
    ema=None,  # dict(momentum=1e-4)
    tf32=True,
    activation_checkpointing=False,
    gradient_compression=None,  # 'bf16': half the bytes between GPUs
    prefetch=True,  # copies batches to the GPU beside the computation
    input='host',  # 'device': pre-training and classification are augmented there
    jpeg='host',  # 'device': decoded there, too, by nvJPEG
)

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(type='lightvit_dense.CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='lightvit_dense.NonFiniteLossGuard'),
    dict(type='lightvit_dense.ResourceHook'),
    dict(type='lightvit_dense.ClassCountHook'),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(timeout=1800),  # seconds that a process waits for the others
)
vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends, name='visualizer')
model_wrapper_cfg = dict(type='lightvit_dense.DistributedDataParallel')
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
