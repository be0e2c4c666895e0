"""Reading annotation files: numbers apart by commas, blanks, tabs or semicolons, a row a line."""

import numpy as np

from lightvit_dense.datasets.errors import DatasetError

_SEPARATORS = bytes.maketrans(b',;\t\r', b'    ')


def clean(data: bytes) -> bytes:
    """Return the text without a byte order mark, lines ended by a line feed, columns by blanks."""
    data = data.removeprefix(b'\xef\xbb\xbf')
    if b'\r' in data and b'\n' not in data:
        data = data.replace(b'\r', b'\n')
    return data.translate(_SEPARATORS)


def parse_numbers(data: bytes, where: str) -> np.ndarray:
    """Return all numbers of a file, whatever its lines, float64 [N]; ``where`` is its name."""
    text = clean(data)
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        for number, line in enumerate(text.split(b'\n'), 1):
            for word in line.split():
                try:
                    float(word)
                except ValueError:
                    shown = word[:20].decode('utf-8', 'replace')
                    raise DatasetError(
                        f'{where}, line {number}: {shown!r} is no number. Correct the line, or '
                        'copy the file again.'
                    ) from None
        raise


def parse_rows(
    data: bytes, where: str, columns: int | None = 4, skip_blank: bool = False
) -> np.ndarray:
    """Return rows, float64 [T, columns]; blank ends do not count, errors name the line."""
    values = parse_numbers(data, where)
    counts = np.array([len(line.split()) for line in clean(data).split(b'\n')])
    counts = np.trim_zeros(counts, 'b')
    if columns is None:
        columns = int(counts[0]) if len(counts) else 1
    wrong = np.flatnonzero((counts != columns) & ~(skip_blank & (counts == 0)))
    if len(wrong):
        raise DatasetError(
            f'{where}, line {wrong[0] + 1}: has {counts[wrong[0]]} numbers instead of {columns}. '
            'Correct the line, or copy the file again.'
        )
    return values.reshape(-1, columns)


def parse_boxes(data: bytes, where: str) -> np.ndarray:
    """Return x, y, width, height of every frame, float64 [T, 4]; they may be NaN, not infinite."""
    boxes = parse_rows(data, where)
    if not len(boxes):
        raise DatasetError(f'{where}: holds no box. Copy the file again.')
    endless = np.flatnonzero(np.isinf(boxes).any(axis=1))
    if len(endless):
        raise DatasetError(f'{where}, line {endless[0] + 1}: a box cannot be infinite.')
    if (boxes[0, 2:] < 0).any():
        raise DatasetError(
            f'{where}, line 1: the first box has the size {boxes[0, 2]:g} x {boxes[0, 3]:g}. '
            'Boxes are x, y, width, height; were corners written?'
        )
    return boxes


def parse_flags(data: bytes, where: str) -> np.ndarray:
    """Return the flags of all frames, in one row or a line each, int64 [T]."""
    values = parse_numbers(data, where)
    flags = np.nan_to_num(values, nan=0.5).astype(np.int64)
    if (flags != values).any():
        raise DatasetError(f'{where}: holds something besides whole numbers. Copy it again.')
    return flags


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes [T, 4] are finite and have a positive size, bool [T]."""
    return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
