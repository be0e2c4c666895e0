"""From the maps of a head to the box in the search crop, in NumPy."""

import numpy as np
from numpy import ndarray

TIE = 1e-5
"""Scores that differ by less, window included, are equal up to rounding."""


def hann_window(rows: int, columns: int) -> ndarray:
    """Return the window [rows, columns] in 0..1 whose zeros lie outside, as OSTrack's."""
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in (rows, columns))).astype(np.float32)


def decode_maps(
    score: ndarray, size: ndarray, offset: ndarray, window: ndarray | None, crop: tuple[int, int]
) -> tuple[ndarray, float]:
    """Read the best box off the maps of a centre head, which are as :class:`Maps` says without B.

    The box [4] is x, y, width, height in pixels of the crop (height, width); its score is without
    ``window``.
    """
    weighted = score if window is None else score * window
    best = int(weighted.argmax())
    return _box_of(best, size, offset, crop), float(score.flat[best])


def tied_boxes(
    score: ndarray, size: ndarray, offset: ndarray, window: ndarray | None, crop: tuple[int, int]
) -> ndarray:
    """Return the boxes [K, 4] of all cells that are the best up to rounding (:data:`TIE`)."""
    weighted = score if window is None else score * window
    cells = np.flatnonzero(weighted >= weighted.max() - TIE)
    return np.stack([_box_of(cell, size, offset, crop) for cell in cells.tolist()])


def _box_of(cell: int, size: ndarray, offset: ndarray, crop: tuple[int, int]) -> ndarray:
    """Return the box of a cell, given by its raster number."""
    rows, columns = size.shape[1:]
    row, column = divmod(cell, columns)
    center = (np.array([column, row]) + offset[:, row, column]) / [columns, rows]
    sides = np.array([crop[1], crop[0]], np.float64)
    width_height = size[:, row, column] * sides
    return np.concatenate([center * sides - width_height / 2, width_height])
