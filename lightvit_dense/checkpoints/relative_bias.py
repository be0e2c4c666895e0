"""Resizing BEiT's tables of relative position biases."""

import math

import torch
from torch import Tensor

EXTRA = 3  # class token to patch, patch to class token, class token to itself


def split_rows(rows: int) -> tuple[int, int] | None:
    """Tell the square window and the extra rows of a table.

    Args:
        rows: Number of rows of the table.

    Returns:
        Side of the window in patches and the number of rows for the class token (3 or 0), or None
        if no square fits.
    """
    for extra in (EXTRA, 0):
        side = math.isqrt(max(rows - extra, 0))
        if side % 2 and side * side == rows - extra:
            return (side + 1) // 2, extra
    return None


def resize_relative_bias(
    table: Tensor,
    window: tuple[int, int],
    extra: int = EXTRA,
    source_window: tuple[int, int] | None = None,
) -> Tensor:
    """Resize a table of relative position biases by geometric interpolation, as BEiT does.

    Args:
        table: [(2h - 1) * (2w - 1) + e, heads], e being 3 with a class token, else 0.
        window: Wanted (height, width) in patches.
        extra: Wanted rows for the class token, 3 or 0; rows that the source lacks become zero.
        source_window: (height, width) of the source; None takes it for square.

    Returns:
        [(2 * height - 1) * (2 * width - 1) + extra, heads], of the source's dtype.

    Raises:
        ValueError: If the number of rows fits no window.
    """
    if source_window is None:
        found = split_rows(len(table))
        if found is None:
            raise ValueError(f'{len(table)} relative positions are no square; give source_window')
        source_window = (found[0], found[0])
    offsets = (2 * source_window[0] - 1) * (2 * source_window[1] - 1)
    kept = len(table) - offsets
    if kept not in (0, EXTRA):
        raise ValueError(f'{len(table)} relative positions are no window of {source_window}')
    grids, rest = table[:offsets], table[offsets:]
    if source_window != tuple(window):
        # Reading checkpoints shall not import all models.
        from lightvit_dense.models.layers.relative_bias import resize_offsets

        # A checkpoint is resized once: in double precision whatever it is stored in.
        grids = resize_offsets(grids.double(), source_window, window).to(table.dtype)
    if extra and not kept:
        rest = table.new_zeros(extra, table.shape[1])
    return torch.cat([grids, rest[:extra]])
