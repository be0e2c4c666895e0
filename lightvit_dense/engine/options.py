"""Engine options: one dict, ``engine=dict(...)``, that every task's config understands.

* ``amp``: None, 'bf16' or 'fp16', automatic mixed precision (needs a GPU).
* ``compile``: False, True or a dict of arguments for :func:`torch.compile`, of the forward pass.
* ``fused``: True for fused Adam, AdamW and SGD, on GPU and CPU.
* ``accumulate``: iterations whose gradients make one optimizer step; ``max_iters`` and checkpoint
  intervals count iterations, and only a checkpoint between two steps can be resumed exactly.
* ``ema``: None or a dict of :class:`mmengine.hooks.EMAHook` arguments, ``dict(momentum=1e-4)``.
* ``tf32``: True for TF32 matrix products and convolutions on GPUs that have them.
* ``activation_checkpointing``: True sets ``with_cp=True`` for the backbone.
* ``gradient_compression``: None, 'bf16' or 'fp16', to all-reduce gradients in half precision;
  'fp16' needs the loss scale of ``amp='fp16'``.
* ``prefetch``: True to copy batches to the GPU beside the computation.
* ``input``: 'host', or 'device' to crop and augment there (pre-training and classification).
* ``jpeg``: 'host', or 'device' to decode JPEG files there by nvJPEG, with ``input='device'`` alone.

Besides, checkpoints are always written atomically; the hooks that make a resumed run equal to one
that never stopped, or refuse a change, are always present, and the one that says what ``load_from``
left at random.
"""

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from lightvit_dense.errors import UserError, did_you_mean, require_known
from lightvit_dense.registry import TRANSFORMS

DEFAULTS = dict(
    amp=None,
    compile=False,
    fused=True,
    accumulate=1,
    ema=None,
    tf32=True,
    activation_checkpointing=False,
    gradient_compression=None,
    prefetch=True,
    input='host',
    jpeg='host',
)
EMA_OPTIONS = (
    *('ema_type', 'momentum', 'interval', 'begin_iter', 'begin_epoch', 'update_buffers', 'gamma'),
    *('device', 'strict_load'),
)
AMP_DTYPES = dict(bf16='bfloat16', fp16='float16')
CONSTRUCTOR = 'lightvit_dense.OptimWrapperConstructor'
FUSED_OPTIMIZERS = ('Adam', 'AdamW', 'SGD')
ALWAYS_PRESENT_HOOKS = (
    'lightvit_dense.ResumePositionHook',
    'lightvit_dense.IterationSeedHook',
    'lightvit_dense.FinalValidationHook',
    'lightvit_dense.LoadReportHook',
    'lightvit_dense.ResumeChangesHook',
)


def read_engine_options(cfg: Config) -> ConfigDict:
    """Return the complete engine options of a config."""
    given = cfg.get('engine') or {}
    for key in given:
        if key not in DEFAULTS:
            raise UserError(
                f'engine.{key} is not an engine option (known: {", ".join(DEFAULTS)}).'
                f'{did_you_mean(key, DEFAULTS)}'
            )
    options = ConfigDict({**DEFAULTS, **given})
    for key in ('amp', 'gradient_compression'):
        if options[key] is not None:
            require_known(options[key], AMP_DTYPES, f'engine.{key}')
    for key in ('fused', 'tf32', 'activation_checkpointing', 'prefetch'):
        if not isinstance(options[key], bool):
            raise UserError(f'engine.{key}={options[key]!r}: expected True or False')
    if not isinstance(options.accumulate, int) or options.accumulate < 1:
        raise UserError(
            f'engine.accumulate={options.accumulate!r}: expected a positive number of iterations'
        )
    _check_ema(options.ema)
    _check_compile(cfg, options.compile)
    for key in ('input', 'jpeg'):
        require_known(options[key], ('host', 'device'), f'engine.{key}')
    if options.input == 'host' and options.jpeg == 'device':
        raise UserError("engine.jpeg='device' needs engine.input='device', which crops there")
    if options.input == 'device' and cfg.get('train_dataloader'):
        _deferred_pipeline(cfg)
    return options


def _check_ema(ema: object) -> None:
    """Refuse what the hook would take for its defaults, or fail on when training begins."""
    if ema in (None, False, True):
        return
    if not isinstance(ema, dict):
        raise UserError(f'engine.ema={ema!r}: expected None or a dict, dict(momentum=1e-4)')
    for key in ema:
        require_known(key, EMA_OPTIONS, 'engine.ema')
    momentum = ema.get('momentum', 1e-4)
    if not isinstance(momentum, (int, float)) or not 0 < momentum < 1:
        raise UserError(f'engine.ema.momentum={momentum!r}: expected a number between 0 and 1')


def _check_compile(cfg: Config, given: object) -> None:
    """Refuse what :func:`torch.compile` refuses, and mmengine's key, before anything starts."""
    if cfg.get('compile'):
        raise UserError(
            'compile makes mmengine compile whole training steps, backward pass and all: '
            'set engine.compile instead'
        )
    if given in (None, False, True):
        return
    if not isinstance(given, dict):
        raise UserError(f'engine.compile={given!r}: expected True or a dict, dict(mode={given!r})')
    try:
        torch.compile(torch.nn.Identity(), **given)
    except Exception as error:  # TypeError, RuntimeError, and those of torch._dynamo
        raise UserError(f'engine.compile: torch.compile refuses {dict(given)}: {error}') from error


def apply_engine_options(cfg: Config, training: bool = True) -> Config:
    """Write the engine options into the places where mmengine's Runner looks for them, in place.

    Applying them twice changes nothing. ``tf32`` also sets the precision of products in this
    process. Unless ``training``, ``tf32`` and ``compile`` alone count.

    Raises:
        UserError: On an unknown option, or mixed precision without a GPU.
    """
    options = read_engine_options(cfg)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision('high' if options.tf32 else 'highest')
        torch.backends.cudnn.allow_tf32 = bool(options.tf32)
    if options.compile:
        given = options.compile if isinstance(options.compile, dict) else {}
        _add_hook(cfg, 'lightvit_dense.CompileHook', **given)
    if not training:
        return cfg
    if cfg.get('optim_wrapper'):
        cfg.optim_wrapper.setdefault('constructor', CONSTRUCTOR)
    if options.amp:
        _apply_amp(cfg, options.amp)
    if options.fused:
        optimizer = cfg.get('optim_wrapper', {}).get('optimizer') or {}
        kind = optimizer.get('type')
        known = isinstance(kind, str) and kind.rpartition('.')[2] in FUSED_OPTIMIZERS
        if known and 'foreach' not in optimizer:
            optimizer.setdefault('fused', True)
    if options.accumulate > 1:
        cfg.optim_wrapper.accumulative_counts = options.accumulate
    if options.ema:
        _add_hook(cfg, 'EMAHook', **(options.ema if isinstance(options.ema, dict) else {}))
    if options.activation_checkpointing:
        if 'backbone' not in cfg.model:
            raise UserError(
                'engine.activation_checkpointing needs a backbone (config key model.backbone)'
            )
        cfg.model.backbone.with_cp = True
    if options.gradient_compression:
        _add_compression(cfg, options.gradient_compression, options.amp)
    if options.input == 'device':
        cfg.train_dataloader.dataset.pipeline = [_deferred_pipeline(cfg)]
        if options.jpeg == 'device':
            _leave_jpeg_to_gpu(cfg.train_dataloader.dataset.pipeline[0])
        cfg.train_dataloader.collate_fn = dict(type='lightvit_dense.collate_deferred')
    if options.prefetch and torch.cuda.is_available():
        _add_hook(cfg, 'lightvit_dense.PrefetchHook')
    for name in ALWAYS_PRESENT_HOOKS:
        _add_hook(cfg, name)
    _use_atomic_checkpoints(cfg)
    return cfg


def _deferred_pipeline(cfg: Config) -> dict:
    """Return the one transform that leaves augmentation to the device; refuse what cannot."""
    dataset = cfg.train_dataloader.dataset
    steps = dataset.get('pipeline', ())
    deferred = dict(type='lightvit_dense.DeferredPipeline', transforms=steps)
    if steps and steps[0].get('type') == deferred['type']:
        return steps[0]
    try:
        if not steps:
            raise ValueError(f'{dataset.type} has no pipeline')
        TRANSFORMS.build(deferred)
    except Exception as error:  # a constructor's, of any kind
        raise UserError(
            f"engine.input='device': {error}. It is for pre-training and classification; "
            "engine.input='host' augments in the workers"
        ) from error
    return deferred


def _leave_jpeg_to_gpu(pipeline: ConfigDict) -> None:
    """Let the workers hand over files; where no GPU decodes them, say why, and let them decode."""
    from lightvit_dense.models.preprocessors.jpeg import missing_decoder

    reason = missing_decoder()
    pipeline.encoded = not reason
    if reason:
        print_log(f"engine.jpeg='device': {reason}; the workers decode.", 'current', 30)


def best_amp_dtype() -> str:
    """Return 'bf16' where the GPU computes in it, else 'fp16'."""
    _require_gpu_for_amp('--amp')
    return 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp16'


def scale_learning_rate(cfg: Config, world_size: int) -> float:
    """Scale the learning rate by the linear rule, say so, and return the factor.

    The batch of one optimizer step is ``world_size * train_dataloader.batch_size * accumulation``;
    the learning rate is multiplied by its ratio to ``auto_scale_lr.base_batch_size``.
    ``auto_scale_lr.enable`` is then switched off, so that the Runner does not scale a second time.
    The config is changed in place, after :func:`apply_engine_options`.

    Raises:
        UserError: Without ``auto_scale_lr.base_batch_size``.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        raise UserError(
            'scaling the learning rate needs `auto_scale_lr = dict(base_batch_size=N)` in the '
            'config: the batch size that its learning rate was chosen for'
        )
    per_process = cfg.train_dataloader.get('batch_size')
    if per_process is None:
        raise UserError('scaling the learning rate needs train_dataloader.batch_size in the config')
    accumulate = cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = world_size * per_process * accumulate
    ratio = batch / base
    old = cfg.optim_wrapper.optimizer.lr
    cfg.optim_wrapper.optimizer.lr = old * ratio
    cfg.auto_scale_lr.enable = False
    print_log(
        f'Learning rate {old:g} x {ratio:g} = {old * ratio:g}: {batch} images a step ({world_size} '
        f'processes x {per_process} images x {accumulate} accumulated) instead of {base}.',
        logger='current',
    )
    return ratio


def _require_gpu_for_amp(name: str) -> None:
    if not torch.cuda.is_available():
        raise UserError(
            f'{name}: automatic mixed precision needs a CUDA GPU, and torch sees none. Train in '
            'single precision: leave out --amp, and give --cfg-options engine.amp=None if the '
            'config switches it on.'
        )


def _apply_amp(cfg: Config, name: str) -> None:
    _require_gpu_for_amp(f'engine.amp={name!r}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.dtype = AMP_DTYPES[name]
    if name == 'bf16':
        # bf16 has fp32's range: scaling the loss would only cost a synchronisation a step.
        cfg.optim_wrapper.setdefault('loss_scale', dict(enabled=False))
    else:
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def _add_compression(cfg: Config, dtype: str, amp: str | None) -> None:
    """Compress gradients, in fp16 only where they are scaled."""
    if dtype == 'fp16' and amp != 'fp16':
        raise UserError(
            "engine.gradient_compression='fp16' needs engine.amp='fp16': without its loss scale "
            'most gradients are below 6e-5, where fp16 loses digits, and below 6e-8 they are 0. '
            "'bf16' has the range of fp32 and the same traffic: take "
            "engine.gradient_compression='bf16'"
        )
    _add_hook(cfg, 'lightvit_dense.GradientCompressionHook', dtype=dtype)


def _add_hook(cfg: Config, name: str, **arguments: object) -> None:
    hooks = cfg.get('custom_hooks') or []
    given = {str(hook.get('type')).split('.')[-1] for hook in hooks if isinstance(hook, dict)}
    if name.split('.')[-1] not in given:
        cfg.custom_hooks = [*hooks, dict(type=name, **arguments)]


def _use_atomic_checkpoints(cfg: Config) -> None:
    hooks = cfg.get('default_hooks') or ConfigDict()
    checkpoint = hooks.get('checkpoint', ConfigDict(type='CheckpointHook', interval=1))
    plain = ('CheckpointHook', 'mmengine.CheckpointHook')
    if checkpoint is not None and checkpoint.get('type') in plain:
        checkpoint['type'] = 'lightvit_dense.CheckpointHook'
        hooks['checkpoint'] = checkpoint
    cfg.default_hooks = hooks
