"""Read a config and make it ready for the Runner."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size
from mmengine.registry import init_default_scope

import lightvit_dense.checkpoints  # noqa: F401  makes mmengine's loading of checkpoints safe
from lightvit_dense.apis.config_keys import check_keys, check_options
from lightvit_dense.compat import init_distributed
from lightvit_dense.errors import UserError


def load_config(
    config: str | Path | Config, cfg_options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file, override values, and check the spelling of its keys.

    Args:
        config: Path of a config file, or a config (which is copied).
        cfg_options: Values to override, by dotted key.

    Returns:
        The config.

    Raises:
        UserError: When the file is missing or no config, or a key is misspelt.
    """
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
    else:
        path = Path(config)
        if not path.is_file():
            raise UserError(f'config {path} does not exist{_nearby_configs(path)}')
        try:
            cfg = Config.fromfile(path)
        except (
            SyntaxError,
            OSError,
            ImportError,
            LookupError,
            NameError,
            TypeError,
            ValueError,
        ) as error:
            raise UserError(
                f'config {path} cannot be read: {type(error).__name__}: {error}'
            ) from error
    if cfg_options:
        check_options(cfg, cfg_options)
        try:
            cfg.merge_from_dict(dict(cfg_options))
        except (KeyError, TypeError) as error:
            raise UserError(f'--cfg-options: {error.args[0]}') from error
    check_keys(cfg)
    return cfg


def _nearby_configs(path: Path) -> str:
    siblings = (
        sorted(other.name for other in path.parent.glob('*.py')) if path.parent.is_dir() else []
    )
    return f'; {path.parent} has {", ".join(siblings)}' if siblings else ''


def prepare_scope(cfg: Config) -> None:
    """Set the scope in which unprefixed type names are looked up."""
    cfg.setdefault('default_scope', 'lightvit_dense')
    init_default_scope(cfg.default_scope)


def prepare_work_dir(cfg: Config, work_dir: str | Path | None) -> None:
    """Set the work directory: the argument, the config's, or ``work_dirs/<config name>``."""
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'config').stem)


def prepare_launcher(cfg: Config, launcher: str) -> int:
    """Join the job that the launcher describes, and choose a wrapper that works on CPU and GPU.

    Args:
        cfg: The config, changed in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        Number of processes of the job.

    Raises:
        UserError: When the launcher's environment variables are missing or a process has no GPU.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return 1
    timeout = ((cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')
    try:
        init_distributed(launcher, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise UserError(f'--launcher {launcher}: {error}') from error
    wrapper = ConfigDict(cfg.get('model_wrapper_cfg') or {})
    if wrapper.get('type', 'MMDistributedDataParallel') == 'MMDistributedDataParallel':
        wrapper['type'] = 'lightvit_dense.DistributedDataParallel'
        wrapper.setdefault('find_unused_parameters', cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = wrapper
    return get_world_size()
