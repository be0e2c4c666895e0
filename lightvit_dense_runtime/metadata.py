"""What an exported file says of itself: one JSON text that travels in it."""

import json
from pathlib import Path
from typing import Any

from .errors import UserError

FORMAT = 1
KEY, METHOD = 'lightvit_dense', 'metadata'
"""Property of ONNX files and OpenVINO's ``rt_info``; ExecuTorch's method that returns its bytes."""
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
        raise UserError(f'{path}: is no file that lightvit_dense exported; {export}')
    try:
        found: dict[str, Any] = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path}: its metadata are damaged; {export}') from error
    if found.get('format') != FORMAT:
        raise UserError(
            f'{path}: is of format {found.get("format")}, this lightvit_dense_runtime reads format '
            f'{FORMAT}; install version {found.get("version")}, which wrote it, or export it anew'
        )
    missing = {*KEYS, *(TRACKING_KEYS if found.get('task') == 'tracking' else ())} - set(found)
    if missing:
        raise UserError(f'{path}: its metadata lack {", ".join(sorted(missing))}; {export}')
    return found
