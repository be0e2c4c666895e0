"""Resizing of BEiT's relative position biases (Bao et al. 2022), in models and in checkpoints."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

Grid = tuple[int, int]  # rows, columns
EXTRA = 3  # class token to patch, patch to class token, class token to itself


def geometric_positions(source: int, target: int) -> list[float]:
    """Place the ``source`` offsets of an axis so that they span the ``target`` ones, both odd.

    From 0 in the middle the distances, in units of the target's, grow by a factor q in [1.01, 1.5]
    with 1 + q + ... + q^(source//2 - 1) = target//2, found by bisection, as BEiT and SimMIM do.
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


@lru_cache(maxsize=64)
def _spline(source: int, target: int) -> np.ndarray:
    from scipy.interpolate import make_interp_spline  # takes long to import

    if source == 1:
        return np.ones((target, 1))
    positions = np.array(geometric_positions(source, target))
    spline = make_interp_spline(positions, np.eye(source), k=min(3, source - 1))
    wanted = np.arange(target) - target // 2.0
    return spline(wanted.clip(positions[0], positions[-1]))


@lru_cache(maxsize=64)
def _kept_matrix(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    # What is made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return torch.from_numpy(_spline(source, target)).to(device, dtype)


# torch.compile cannot look into scipy; only grids other than the table's come here.
@torch.compiler.disable
def interpolation_matrix(
    source: int, target: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the matrix [target, source] that resizes the odd number of offsets of one axis.

    An interpolating spline is linear in the values that it goes through. The one through the
    identity is therefore a matrix, and resizing with it lets gradients pass. It is made once, cubic
    with knots at :func:`geometric_positions`; offsets beyond the last of these get its value.
    """
    if torch.compiler.is_compiling():  # torch.export: its tensors must not be kept
        return torch.from_numpy(_spline(source, target)).to(device, dtype)
    return _kept_matrix(source, target, device, dtype)


def resize_offsets(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Resize a table [(2 * rows - 1) * (2 * columns - 1), heads] of grid ``old`` to ``new``.

    By BEiT's geometric interpolation; gradients flow to the table, which is itself returned when
    the grids agree.
    """
    if tuple(old) == tuple(new):
        return table
    down, across = (
        interpolation_matrix(2 * a - 1, 2 * b - 1, table.device, table.dtype)
        for a, b in zip(old, new, strict=True)
    )
    # [h * w, heads] -> [h, w, heads] -> [H, W, heads] -> [H * W, heads]
    image = table.reshape(2 * old[0] - 1, 2 * old[1] - 1, -1)
    with torch.autocast(table.device.type, enabled=False):
        return torch.einsum('Hh,Ww,hwn->HWn', down, across, image).flatten(0, 1)


def split_rows(rows: int) -> Grid | None:
    """Tell the side of the square window in patches and the extra rows (3 or 0) of a table."""
    for extra in (EXTRA, 0):
        side = math.isqrt(max(rows - extra, 0))
        if side % 2 and side * side == rows - extra:
            return (side + 1) // 2, extra
    return None


def resize_relative_bias(
    table: Tensor, window: Grid, extra: int = EXTRA, source_window: Grid | None = None
) -> Tensor:
    """Resize a table of relative position biases by geometric interpolation, as BEiT does.

    The table is [(2h - 1) * (2w - 1) + e, heads], e being 3 with a class token, else 0; of
    ``extra`` rows (3 or 0) those that it lacks become zero. Windows are (height, width) in patches;
    without ``source_window`` it is taken for square. ValueError if the rows fit no window.
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
        # A checkpoint is resized once: in double precision whatever it is stored in.
        grids = resize_offsets(grids.double(), source_window, window).to(table.dtype)
    if extra and not kept:
        rest = table.new_zeros(extra, table.shape[1])
    return torch.cat([grids, rest[:extra]])
