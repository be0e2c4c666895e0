"""Config values to override, found by looking at the config."""

from collections.abc import Mapping
from typing import Any


def relocate(config: Any, moves: Mapping[str, str], prefix: str = '') -> dict[str, str]:
    """Return overrides that make paths of a config follow moved folders.

    Args:
        config: Plain dicts, lists and values.
        moves: Old folder -> new folder, without a slash at the end.
        prefix: Dotted key of ``config`` itself.

    Returns:
        Dotted key -> new path, for every string below one of the old folders.
    """
    if isinstance(config, str):
        for old, new in moves.items():
            if config.startswith(old + '/'):
                return {prefix: new + config[len(old) :]}
        return {}
    if isinstance(config, Mapping):
        items = list(config.items())
    elif isinstance(config, (list, tuple)):
        items = list(enumerate(config))
    else:
        return {}
    found: dict[str, str] = {}
    for key, value in items:
        found |= relocate(value, moves, f'{prefix}.{key}' if prefix else str(key))
    return found


def few_iterations(config: Mapping[str, Any], iterations: int) -> dict[str, Any]:
    """Return overrides that make a training run short and talkative.

    Args:
        config: A training config.
        iterations: Number of iterations, or of epochs for an epoch-based run.
    """
    by_epoch = 'max_epochs' in config['train_cfg']
    return {
        f'train_cfg.max_{"epochs" if by_epoch else "iters"}': iterations,
        'train_cfg.val_interval': iterations,
        'train_dataloader.batch_size': 2,
        'default_hooks.logger.interval': 1,
    }


def final_checkpoint(config: Mapping[str, Any]) -> str:
    """Return the name of the checkpoint that a run leaves at its end."""
    loop = config['train_cfg']
    if 'max_epochs' in loop:
        return f'epoch_{loop["max_epochs"]}.pth'
    return f'iter_{loop["max_iters"]}.pth'


def as_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Return ``--cfg-options`` with its values, or nothing if there are none."""
    if not overrides:
        return []
    return ['--cfg-options', *(f'{key}={value}' for key, value in overrides.items())]
