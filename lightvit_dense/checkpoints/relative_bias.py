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


def geometric_positions(source: int, target: int) -> list[float]:
    """Place a source's offsets so that they span a target's, ever further apart from the centre.

    The distances grow by a factor q in [1.01, 1.5] with 1 + q + ... + q^(source//2 - 1) =
    target//2, found by bisection, as BEiT and SimMIM do.

    Args:
        source: Odd number of offsets of the table along an axis.
        target: Odd number of offsets wanted.

    Returns:
        ``source`` positions in units of the target's offsets, 0 in the middle.
    """
    half = source // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if (1 - q**half) / (1 - q) > target // 2:
            high = q
        else:
            low = q
    positions = [sum(q**i for i in range(count + 1)) for count in range(half)]
    return [-p for p in reversed(positions)] + [0.0] + positions


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
    # Only these tables need it, and it takes long to import.
    from scipy.interpolate import RectBivariateSpline

    if source_window is None:
        found = split_rows(len(table))
        if found is None:
            raise ValueError(f'{len(table)} relative positions are no square; give source_window')
        source_window = (found[0], found[0])
    rows, columns = (2 * side - 1 for side in source_window)
    kept = len(table) - rows * columns
    if kept not in (0, EXTRA):
        raise ValueError(f'{len(table)} relative positions are no window of {source_window}')
    heads = table.shape[1]
    grids, rest = table[: rows * columns], table[rows * columns :]
    if source_window != tuple(window):
        # [rows * columns, heads] -> [heads, rows, columns]
        images = grids.double().t().reshape(heads, rows, columns).numpy()
        wanted = [2 * side - 1 for side in window]
        y, x = (geometric_positions(*p) for p in zip((rows, columns), wanted, strict=True))
        at_y, at_x = (torch.arange(n).sub(n // 2).double().numpy() for n in wanted)
        degrees = dict(kx=min(3, rows - 1), ky=min(3, columns - 1))
        resized = [
            torch.from_numpy(RectBivariateSpline(y, x, image, s=0, **degrees)(at_y, at_x))
            for image in images
        ]
        # heads x [H, W] -> [H * W, heads]
        grids = torch.stack(resized, dim=-1).flatten(0, 1).to(table.dtype)
    if extra and not kept:
        rest = table.new_zeros(extra, heads)
    return torch.cat([grids, rest[:extra]])
