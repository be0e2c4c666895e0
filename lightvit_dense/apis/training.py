"""Train what a config describes."""

from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.runner import EpochBasedTrainLoop, Runner

from lightvit_dense.apis.agreement import require_same_checkpoint
from lightvit_dense.apis.configs import built_runner, load_run, prepare_launcher
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.compat.allocator import keep_freed_memory
from lightvit_dense.engine.options import apply_engine_options, best_amp_dtype, scale_learning_rate
from lightvit_dense.engine.resume import find_resume_checkpoint, refuse_used
from lightvit_dense.engine.sampler_state import find_sampler, is_infinite
from lightvit_dense.errors import UserError
from lightvit_dense.utils.ranks import from_rank_zero, together


def train(
    config: str | Path | Config,
    work_dir: str | Path | None = None,
    resume: bool | str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train; everything that a user can have got wrong is checked before the first iteration.

    Args:
        config: Config or its path.
        work_dir: Directory of logs and checkpoints; by default the config's, else
            ``work_dirs/<config name>``.
        resume: A checkpoint; or True (or 'auto') for the newest whole one of the work directory.
            Without it, a work directory that holds another training is refused.
        amp: Mixed precision in the best type that the GPU has, unless ``engine.amp`` names one.
        auto_scale_lr: Scale the learning rate by the linear rule.
        cfg_options: Config values to override, by dotted key.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    cfg = load_run('train', config, cfg_options, work_dir)
    world_size = prepare_launcher(cfg, launcher)
    _prepare_resume(cfg, resume)
    require_same_checkpoint(cfg)
    together(lambda: raise_if_missing(find_missing(cfg, 'train'), cfg))
    if amp:
        engine = cfg.setdefault('engine', {})
        engine['amp'] = engine.get('amp') or best_amp_dtype()
    apply_engine_options(cfg)
    if auto_scale_lr or (cfg.get('auto_scale_lr') or {}).get('enable', False):
        scale_learning_rate(cfg, world_size)
    if get_device() == 'cpu':
        keep_freed_memory()
    with built_runner(cfg) as runner:
        _require_iterations(runner)
        runner.train()
    return runner


def _prepare_resume(cfg: Config, resume: bool | str | None) -> None:
    """Turn the request into mmengine's ``resume`` and ``load_from``."""
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or True
    if resume is True or resume == 'auto':
        resume = from_rank_zero(lambda: find_resume_checkpoint(cfg.work_dir))
        message = f'continuing from {resume}'
        if resume is None:
            message = f'no checkpoint in {cfg.work_dir}, so training starts from the beginning.'
        if is_main_process():
            print(f'--resume: {message}')
    else:
        from_rank_zero(lambda: refuse_used(cfg.work_dir, resume or None))
    cfg.resume = bool(resume)
    if resume:
        cfg.load_from = str(resume)


def _require_iterations(runner: Runner) -> None:
    """Build the training loop, and refuse one without iterations."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    name, end = ('max_epochs', loop.max_epochs) if by_epoch else ('max_iters', loop.max_iters)
    if end < 1:
        raise UserError(f'train_cfg.{name}={end} trains nothing: set at least 1')
    if loop.val_interval < 1:
        raise UserError(
            f'train_cfg.val_interval={loop.val_interval}: set at least 1, or more than '
            f'{name}={end} to validate at the end alone'
        )
    loader, sampler = loop.dataloader, find_sampler(loop.dataloader)
    images, share = len(loader.dataset), len(sampler)
    if images and (len(loader) or (is_infinite(sampler) and not by_epoch)):
        return
    batch_size = getattr(loader.batch_sampler, 'batch_size', loader.batch_size)
    remedy = 'Check the files, the split and the filters of train_dataloader.dataset.'
    if share:
        remedy = (
            f'Set train_dataloader.batch_size to at most {share}, or '
            'train_dataloader.drop_last=False, or start fewer processes.'
        )
    raise UserError(
        f'train_dataloader has no batch: {images} images on {runner.world_size} process(es) are '
        f'{share} for each, and the batch size is {batch_size}. {remedy}'
    )
