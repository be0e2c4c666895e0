"""What an evaluation found, and what it belongs to, as JSON."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lightvit_dense.utils.environment import environment
from lightvit_dense.utils.io import atomic_write, sha256


def describe_config(cfg: Config) -> dict[str, str | None]:
    """Name a config and the hash of all its values.

    Two configs have the same hash if their values are equal, whatever files they come from. The
    work directory and the checkpoint, which a run enters, do not count.

    Args:
        cfg: The whole config.
    """
    values = {k: v for k, v in cfg.to_dict().items() if k not in ('work_dir', 'load_from')}
    text = json.dumps(values, sort_keys=True, default=str)
    return {'path': cfg.filename, 'sha256': hashlib.sha256(text.encode()).hexdigest()}


def describe_file(path: str | Path) -> dict[str, str | None]:
    """Name a file and the hash of its bytes; an address on the network has none."""
    return {'path': str(path), 'sha256': sha256(path) if Path(path).is_file() else None}


def evaluation_report(
    cfg: Config,
    metrics: Mapping[str, Any],
    class_tables: Mapping[str, Sequence[Mapping[str, Any]]],
    **source: Any,
) -> dict[str, Any]:
    """Gather everything that a later reader of a result may ask.

    Args:
        cfg: The config as it was given, before a run changed it.
        metrics: Figures by name.
        class_tables: Rows of figures of every class by name of the metric.
        source: What was evaluated and how: ``checkpoint`` or ``predictions`` as a path, and any
            options.

    Returns:
        'config', 'config_sha256', of each file its path and '<name>_sha256', the options,
        'metrics', 'class_tables', 'time' (UTC) and 'environment' (hardware and versions).
    """
    config = describe_config(cfg)
    content: dict[str, Any] = {'config': config['path'], 'config_sha256': config['sha256']}
    for name, value in source.items():
        content[name] = value
        if name in ('checkpoint', 'predictions'):
            content |= {name: str(value), f'{name}_sha256': describe_file(value)['sha256']}
    content['metrics'] = {name: _number(value) for name, value in metrics.items()}
    content['class_tables'] = {name: list(rows) for name, rows in class_tables.items()}
    content['time'] = datetime.now(timezone.utc).isoformat(timespec='seconds')
    content['environment'] = environment()
    return content


def write_report(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON; what is no number (NaN, infinity) becomes null.

    Args:
        path: The file; its folders are made.
        content: Plain data.
    """
    text = json.dumps(_plain(content), indent=2, allow_nan=False)
    atomic_write(path, f'{text}\n'.encode())


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str, bool)) else _plain(float(value))
