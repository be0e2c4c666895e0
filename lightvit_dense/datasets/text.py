"""Lists in text files: one entry a line."""

import os
from collections.abc import Iterator

from lightvit_dense.utils.io import read_text

from .errors import DatasetError


def read_lines(path: str, what: str) -> Iterator[str]:
    """Yield the lines of a text file, without blank ones and comments (``#``)."""
    if not os.path.isfile(path):
        raise DatasetError(f'{path}: this {what} does not exist.')
    for line in map(str.strip, read_text(path).split('\n')):
        if line and not line.startswith('#'):
            yield line
