"""Lists in text files: one entry a line."""

import os
from collections.abc import Iterator

from lightvit_dense.utils.io import read_text

from .errors import DatasetError


def read_lines(path: str, what: str) -> Iterator[str]:
    """Yield the lines of a text file, without blank ones and comments (``#``)."""
    if not os.path.isfile(path):
        raise DatasetError(f'{path}: this {what} does not exist.')
    with open(path, encoding='utf-8-sig') as file:
        try:
            for line in map(str.strip, file):
                if line and not line.startswith('#'):
                    yield line
        except UnicodeDecodeError:
            read_text(path)  # names the line
