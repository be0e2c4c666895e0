"""Read a config, make it ready for the Runner, and build that."""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

import lightvit_dense.checkpoints  # noqa: F401  makes mmengine's loading of checkpoints safe
from lightvit_dense.apis.agreement import require_same_run
from lightvit_dense.apis.config_keys import check_keys, check_options, merge_options
from lightvit_dense.apis.files import find_config
from lightvit_dense.compat import collect, config_environment, init_distributed
from lightvit_dense.errors import UserError, require_known, user_errors

collect.install()
config_environment.install()

_UNREADABLE = (SyntaxError, OSError, ImportError, LookupError, NameError, TypeError, ValueError)


def load_config(
    config: str | Path | Config, cfg_options: Mapping[str, Any] | None = None, scope: bool = False
) -> Config:
    """Read a config, override values by dotted key, and check its keys.

    Raises UserError when the file is missing or no config, or a key is misspelt.

    Args:
        config: A file, the name of a config of ours such as 'coco/maskrcnn_dmae_tiny', or a config,
            which is copied.
        cfg_options: Values by dotted key.
        scope: Whether to set the scope in which unprefixed type names are looked up.
    """
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
    else:
        path = Path(config)
        if not path.is_file():
            path = _find(path)
        try:
            cfg = Config.fromfile(path)
        except _UNREADABLE as error:
            raise UserError(
                f'config {path} cannot be read: {type(error).__name__}: {error}'
            ) from error
    if cfg_options:
        check_options(cfg, cfg_options)
        merge_options(cfg, cfg_options)
    check_keys(cfg)
    dist_options(cfg)
    for key in cfg:
        cfg[key] = _tidied(cfg[key])
    if scope:
        prepare_scope(cfg)
    return cfg


def _find(path: Path) -> Path:
    """Return the config of ours that a name stands for, such as 'coco/maskrcnn_dmae_tiny'."""
    try:
        return find_config(str(path))
    except UserError as error:
        siblings = ', '.join(sorted(file.name for file in path.parent.glob('*.py')))
        nearby = f'; {path.parent} has {siblings}' if siblings else ''
        raise UserError(f'config {path} does not exist{nearby}; {error}') from None


def _tidied(value: Any) -> Any:
    """Expand the '~/' of paths; drop what torch refuses of a data loader without workers."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value.startswith('~/') else value
    if isinstance(value, (list, tuple)):
        return type(value)(map(_tidied, value))
    if isinstance(value, dict):
        if value.get('num_workers') == 0:
            value.pop('persistent_workers', None)
            value.pop('prefetch_factor', None)
        for key in value:
            value[key] = _tidied(value[key])
    return value


def name_of(cfg: Config) -> str:
    """Return what messages call a config."""
    return str(cfg.filename or 'the config')


def tested_dataset(cfg: Config) -> Mapping[str, Any]:
    """Return the config of the test images; empty without any."""
    return (cfg.get('test_dataloader') or {}).get('dataset') or {}


def prepare_scope(cfg: Config) -> None:
    """Set the scope in which unprefixed type names are looked up."""
    cfg.setdefault('default_scope', 'lightvit_dense')
    init_default_scope(cfg.default_scope)


def prepare_work_dir(cfg: Config, work_dir: str | Path | None) -> None:
    """Set the work directory: the argument, the config's, or ``work_dirs/<config name>``."""
    if work_dir is not None:
        cfg.work_dir = os.path.expanduser(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'config').stem)


def load_run(mode: str, config: Any, options: dict | None, work_dir: str | Path | None) -> Config:
    """Load a config to 'train' or to 'test' it; one without that part is refused."""
    cfg = load_config(config, options, scope=True)
    prepare_work_dir(cfg, work_dir)
    if cfg.get(f'{mode}_cfg') is None:
        raise UserError(f'{name_of(cfg)} has no {mode}_cfg: there is nothing to {mode}')
    return cfg


def prepare_launcher(cfg: Config, launcher: str) -> int:
    """Join a launcher's job, choose a model wrapper, and return the number of processes."""
    cfg.launcher = launcher
    if launcher == 'none':
        return 1
    try:
        init_distributed(launcher, **dist_options(cfg))
    except (RuntimeError, ValueError) as error:
        raise UserError(f'--launcher {launcher}: {error}') from error
    require_same_run(cfg)
    wrapper = ConfigDict(cfg.get('model_wrapper_cfg') or {})
    if wrapper.get('type', 'MMDistributedDataParallel') == 'MMDistributedDataParallel':
        wrapper['type'] = 'lightvit_dense.DistributedDataParallel'
    if cfg.get('find_unused_parameters'):
        wrapper.setdefault('find_unused_parameters', True)
    cfg.model_wrapper_cfg = wrapper
    return get_world_size()


def dist_options(cfg: Config) -> dict[str, Any]:
    """Return ``env_cfg.dist_cfg``: the backend, and the seconds that a process waits for others."""
    options = dict((cfg.get('env_cfg') or {}).get('dist_cfg') or {})
    for key in options:
        require_known(key, ('backend', 'timeout'), 'env_cfg.dist_cfg')
    timeout = options.get('timeout', 1)
    if not isinstance(timeout, (int, float)) or timeout <= 0:
        raise UserError(f'env_cfg.dist_cfg.timeout={timeout!r}: expected a number of seconds')
    return options


@contextmanager
def built_runner(cfg: Config) -> Iterator[Runner]:
    """Build a config's Runner; at the end its loaders' workers are stopped, at once."""
    with user_errors(cfg):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        try:
            yield runner
        finally:
            for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
                if isinstance(loop, BaseLoop):
                    stop_workers(loop)


def stop_workers(loop: BaseLoop) -> None:
    """Stop the worker processes of a loop's data loader, which may have failed in the middle."""
    for holder in (loop.dataloader, getattr(loop, 'dataloader_iterator', None)):
        iterator = getattr(holder, '_iterator', None)
        shutdown = getattr(iterator, '_shutdown_workers', None)
        if holder is not None and shutdown is not None:
            shutdown()
            holder._iterator = None
