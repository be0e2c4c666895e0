"""Read a config and make it ready for the Runner."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from lightvit_dense.apis.config_keys import check_keys, check_options
from lightvit_dense.errors import UserError

LAUNCHER_WORLD_SIZE = dict(pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')


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
        cfg = config.copy()
    else:
        path = Path(config)
        if not path.is_file():
            raise UserError(f'config {path} does not exist{_nearby_configs(path)}')
        try:
            cfg = Config.fromfile(path)
        except (SyntaxError, OSError, NameError, KeyError, TypeError, ValueError) as error:
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
    """Choose the work directory: the argument, else the config's, else ``work_dirs/<config name>``."""
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'config').stem)


def prepare_launcher(cfg: Config, launcher: str) -> int:
    """Write the launcher into the config; without a GPU start gloo and choose a wrapper that works there.

    Args:
        cfg: The config, changed in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        Number of processes of the job.

    Raises:
        UserError: When the launcher's environment variables are missing.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return 1
    variable = LAUNCHER_WORLD_SIZE[launcher]
    if variable not in os.environ:
        raise UserError(
            f'--launcher {launcher}: the environment variable {variable} is not set. '
            'Start the processes with tools/dist_train.sh or tools/slurm_train.sh.'
        )
    if not torch.cuda.is_available():
        from lightvit_dense.compat.distributed import init_distributed

        init_distributed(launcher)
        wrapper = ConfigDict(cfg.get('model_wrapper_cfg') or {})
        if (
            wrapper.setdefault('type', 'lightvit_dense.DistributedDataParallel')
            == 'MMDistributedDataParallel'
        ):
            wrapper['type'] = 'lightvit_dense.DistributedDataParallel'
        wrapper.setdefault('broadcast_buffers', False)
        wrapper.setdefault('find_unused_parameters', cfg.get('find_unused_parameters', False))
        cfg.model_wrapper_cfg = wrapper
    return int(os.environ[variable])
