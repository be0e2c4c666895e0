"""What an evaluation found, and what it belongs to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lightvit_dense.utils.environment import environment
from lightvit_dense.utils.io import sha256


def describe_config(cfg: Config) -> dict[str, str | None]:
    """Return a config's path and the hash of its values, work directory and checkpoint left out."""
    values = {k: v for k, v in cfg.to_dict().items() if k not in ('work_dir', 'load_from')}
    text = json.dumps(values, sort_keys=True, default=str)
    return {'config': cfg.filename, 'config_sha256': hashlib.sha256(text.encode()).hexdigest()}


def evaluation_report(
    cfg: Config,
    metrics: Mapping[str, Any],
    class_tables: Mapping[str, Sequence[Mapping[str, Any]]],
    **source: Any,
) -> dict[str, Any]:
    """Gather what a reader of a result may ask; files of ``source`` get a '<name>_sha256'."""
    content: dict[str, Any] = {**describe_config(cfg), **source}
    for name in {'checkpoint', 'predictions'} & source.keys():
        path = Path(source[name])
        content[name] = str(source[name])
        content[f'{name}_sha256'] = sha256(path) if path.is_file() else None
    plain = (int, float, str)
    content['metrics'] = {
        name: value if isinstance(value, plain) else float(value) for name, value in metrics.items()
    }
    content['class_tables'] = {name: list(rows) for name, rows in class_tables.items()}
    content['time'] = datetime.now(timezone.utc).isoformat(timespec='seconds')
    content['environment'] = environment()
    return content
