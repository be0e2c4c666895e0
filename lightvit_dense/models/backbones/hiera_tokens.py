"""Hiera's order of tokens: unit by unit, and inside a unit so that pooling is a plain maximum.

A *mask unit* is a square of tokens that is kept or hidden as a whole and that shrinks at each query
pooling: 8x8, 4x4, 2x2, 1x1 (Hiera paper, section 3). Tokens are held as [B, U, T, C]: U units in
raster order, T tokens of a unit. Inside a unit the finest bits of row and column vary slowest: the
four tokens that the next pooling joins lie T/4 apart, so that pooling is
``x.unflatten(2, (4, T // 4)).amax(2)`` and nothing is ever moved in memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def to_units(x: Tensor, side: int) -> Tensor:
    """Bring a map [B, rows, columns, C] into the order of units [B, units, side², C]."""
    batch, rows, columns, width = x.shape
    levels = side.bit_length() - 1
    # A row splits into (unit, coarsest bit, ..., finest bit), and so does a column.
    x = x.reshape(batch, rows // side, *[2] * levels, columns // side, *[2] * levels, width)
    row, column = 1, 2 + levels
    inner = [axis for i in range(levels, 0, -1) for axis in (row + i, column + i)]
    # -> [B, row of unit, column of unit, finest row bit, finest column bit, ..., C]
    x = x.permute(0, row, column, *inner, x.ndim - 1)
    return x.reshape(batch, -1, side * side, width)


def from_units(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Undo :func:`to_units` for a grid (rows, columns) of units."""
    batch, _, tokens, width = x.shape
    levels = (int(tokens).bit_length() - 1) // 2  # int: tracing makes tensors of sizes
    side = 1 << levels
    # [B, row of unit, column of unit, finest row bit, finest column bit, ..., C]
    x = x.reshape(batch, *grid, *[2] * (2 * levels), width)
    row_bits = [1 + 2 * i for i in range(levels, 0, -1)]  # coarsest first
    column_bits = [axis + 1 for axis in row_bits]
    x = x.permute(0, 1, *row_bits, 2, *column_bits, x.ndim - 1)
    return x.reshape(batch, grid[0] * side, grid[1] * side, width)


def pad_to_units(x: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """Fill a map [B, rows, columns, C] up to units; return it, and what is real [U, side²]."""
    rows, columns = x.shape[1:3]
    pad_h, pad_w = -rows % side, -columns % side
    if not pad_h and not pad_w:
        return x, None
    real = F.pad(x.new_ones(1, rows, columns, 1), (0, 0, 0, pad_w, 0, pad_h))
    return F.pad(x, (0, 0, 0, pad_w, 0, pad_h)), to_units(real, side)[0, :, :, 0].bool()


def pool_tokens(x: Tensor, stride: int, real: Tensor | None = None) -> Tensor:
    """Join ``stride`` (4 or 1) neighbours of [B, U, T, C] by maximum; padding takes no part."""
    if stride == 1:
        return x
    # Not unflatten, which fixes the batch of an ONNX file: [B, U, stride, T / stride, C]
    groups = x.reshape(*x.shape[:2], stride, -1, x.shape[3])
    if real is None:
        return groups.amax(2)
    seen = real.unflatten(1, (stride, -1))[..., None]  # [U, stride, T / stride, 1]
    lowest = torch.finfo(x.dtype).min
    return groups.masked_fill(~seen, lowest).amax(2).masked_fill(~seen.any(1), 0.0)


def pool_real(real: Tensor | None, stride: int) -> Tensor | None:
    """Tell which tokens are real [U, T / stride] after :func:`pool_tokens`: any real part does."""
    if real is None or stride == 1:
        return real
    return real.unflatten(1, (stride, -1)).any(1)
