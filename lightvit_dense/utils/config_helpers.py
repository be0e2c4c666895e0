"""Functions that configs call: class names from a file, and overrides of pipelines."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError, require_known
from lightvit_dense.utils.io import is_clutter, read_text


def read_classes(path: str) -> tuple[str, ...]:
    """Return the names of classes in order: a COCO file's, a list's lines, a folder's folders."""
    file = Path(path)
    if file.is_dir():
        names = sorted(p.name for p in file.iterdir() if p.is_dir() and not is_clutter(p.name))
    else:
        try:
            text = read_text(file)
            entries = json.loads(text)['categories'] if file.suffix == '.json' else None
            names = text.splitlines() if entries is None else [entry['name'] for entry in entries]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(
                f'{path}: the classes cannot be read ({type(error).__name__}: {error}). It must be '
                'a COCO file, a text with one class a line, or a folder with one folder a class'
            ) from error
        names = [name.strip() for name in names if name.strip()]
    if not names or len(set(names)) != len(names):
        double = next((name for name in names if names.count(name) > 1), None)
        raise UserError(f'{path}: names {f"the class {double!r} twice" if names else "no class"}')
    return tuple(names)


def update_pipeline(pipeline: Sequence[Mapping], **arguments: Mapping[str, Any]) -> list[dict]:
    """Return a copy of a pipeline with arguments of transforms overridden, by name without scope.

    Example: ``update_pipeline(_base_.val_pipeline, Resize=dict(scale=(320, 320)))``.
    """
    steps = [copy.deepcopy(dict(step)) for step in pipeline]
    by_name = {str(step['type']).rpartition('.')[2]: step for step in steps}
    for name, options in arguments.items():
        require_known(name, by_name, 'update_pipeline(pipeline)')
        by_name[name].update(options)
    return steps
