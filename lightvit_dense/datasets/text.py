"""Lists in text files, one entry a line, and JSON."""

import json
import os
from collections.abc import Iterator
from typing import Any

from lightvit_dense.utils.io import read_text

from .errors import DatasetError


def read_lines(path: str, what: str) -> Iterator[str]:
    """Yield the lines of a text file, without blank ones and comments (``#``)."""
    if not os.path.isfile(path):
        raise DatasetError(f'{path}: this {what} does not exist.')
    for line in map(str.strip, read_text(path).split('\n')):
        if line and not line.startswith('#'):
            yield line


def read_json(path: str, hook: Any = None) -> Any:
    """Read a file; ``hook`` makes something of each of its objects."""
    try:
        return json.loads(read_text(path), object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f'{path}: is no JSON, or truncated ({error}). Fetch it again.'
        ) from error
