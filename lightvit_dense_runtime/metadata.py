"""What an exported file says of itself: one JSON text that travels in it."""

import json
from pathlib import Path
from typing import Any

from .errors import ModelFileError

FORMAT = 1
KEY = 'lightvit_dense'
"""Name of the text among the properties of an ONNX file and in OpenVINO's ``rt_info``."""
METHOD = 'metadata'
"""Method of an ExecuTorch program that returns the text as UTF-8 bytes, uint8 [N]."""
TASKS = ('classification', 'features', 'detection', 'segmentation', 'tracking')
KEYS = (
    *('format', 'version', 'task', 'precision', 'config', 'checkpoint', 'checkpoint_sha256'),
    *('classes', 'inputs', 'outputs', 'limits'),
)
TRACKING_KEYS = (
    *('template_size', 'search_size', 'template_factor', 'search_factor', 'window', 'margin'),
)


def parse(text: str | None, path: str | Path) -> dict[str, Any]:
    """Read the text of a file; None stands for a file without one."""
    export = 'export the model with tools/deploy/export.py'
    if text is None:
        raise ModelFileError(f'{path}: is no file that lightvit_dense exported; {export}')
    try:
        found = json.loads(text)
        number, task = found['format'], found['task']
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f'{path}: its metadata are damaged; {export}') from error
    if number != FORMAT:
        raise ModelFileError(
            f'{path}: is of format {number}, this lightvit_dense_runtime reads format {FORMAT}; '
            f'install the version {found.get("version", "?")} that wrote it, or export it anew'
        )
    if task not in TASKS:
        raise ModelFileError(f'{path}: is for {task!r}; there are {", ".join(TASKS)}')
    missing = {*KEYS, *(TRACKING_KEYS if task == 'tracking' else ())} - set(found)
    if missing:
        raise ModelFileError(f'{path}: its metadata lack {", ".join(sorted(missing))}; {export}')
    return dict(found)
