"""BEiT's relative position bias (Bao et al. 2022): a learned number for each offset and head."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EXTRA = 3  # class token to patch, patch to class token, class token to itself


def table_rows(grid: tuple[int, int], cls_token: bool) -> int:
    """Return the rows of a table: offsets of a grid (rows, columns), and those of a class token."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + EXTRA * cls_token


def geometric_positions(source: int, target: int) -> list[float]:
    """Place an odd number of a source's offsets so that they span a target's, 0 in the middle.

    The distances grow by a factor q in [1.01, 1.5] with 1 + q + ... + q^(source//2 - 1) =
    target//2, found by bisection, as BEiT and SimMIM do.
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
    """Return the matrix [target, source] that resizes the offsets of one axis.

    An interpolating spline is linear in the values that it goes through. The one through the
    identity is therefore a matrix, and resizing with it lets gradients pass. It is cubic with knots
    at :func:`geometric_positions`; offsets beyond the last of these get its value.
    """
    if torch.compiler.is_compiling():  # torch.export: its tensors must not be kept
        return torch.from_numpy(_spline(source, target)).to(device, dtype)
    return _kept_matrix(source, target, device, dtype)


def resize_offsets(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize offsets to another grid (rows, columns) by BEiT's geometric interpolation.

    Args:
        table: [(2 * rows - 1) * (2 * columns - 1), heads] of the grid ``old``; gets gradients.
        old: The table's grid.
        new: The grid wanted.
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


def _pair_index(grid: tuple[int, int], cls_token: bool, device: torch.device) -> Tensor:
    rows, columns = grid
    place = torch.arange(rows * columns, device=device)
    y, x = torch.div(place, columns, rounding_mode='floor'), place % columns
    down, across = y[:, None] - y + rows - 1, x[:, None] - x + columns - 1
    index = down * (2 * columns - 1) + across
    if not cls_token:
        return index
    first = table_rows(grid, cls_token=False)
    index = F.pad(index, (1, 0, 1, 0), value=first)
    index[1:, 0] = first + 1
    index[0, 0] = first + 2
    return index


@lru_cache(maxsize=16)
def _kept_pair_index(grid: tuple[int, int], cls_token: bool, device: torch.device) -> Tensor:
    # What is made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return _pair_index(grid, cls_token, device)


def pair_index(grid: tuple[int, int], cls_token: bool, device: torch.device) -> Tensor:
    """Return the row of a table for each pair of query and key, int64 [N, N].

    N counts the class token. Do not change it: all blocks share it.
    """
    if torch.compiler.is_compiling():  # a compiler keeps constants by itself
        return _pair_index(grid, cls_token, device)
    return _kept_pair_index(grid, cls_token, device)


def relative_bias(
    table: Tensor,
    table_grid: tuple[int, int],
    grid: tuple[int, int],
    ids_keep: Tensor | None = None,
) -> Tensor:
    """Return what is added to the attention logits of an image.

    Args:
        table: [offsets, heads] or, with a class token, [offsets + 3, heads].
        table_grid: (rows, columns) that the table was made for.
        grid: (rows, columns) of the image's patches; the table is resized to another one.
        ids_keep: Patches that are there [B, K], in their order; ``None`` for all.

    Returns:
        [1 or B, heads, N, N]; N counts the class token.
    """
    offsets = table_rows(table_grid, cls_token=False)
    cls_token = len(table) > offsets
    if tuple(grid) != tuple(table_grid):
        table = torch.cat([resize_offsets(table[:offsets], table_grid, grid), table[offsets:]])
    index = pair_index((grid[0], grid[1]), cls_token, table.device)[None]
    if ids_keep is not None:
        if cls_token:
            ids_keep = torch.cat([ids_keep.new_zeros(len(ids_keep), 1), ids_keep + 1], dim=1)
        # [N, N] at [B, K, 1] and [B, 1, K] -> [B, K, K]
        index = index[0][ids_keep[:, :, None], ids_keep[:, None, :]]
    # [heads, rows] at [B*N*N] -> [heads, B, N, N] -> [B, heads, N, N]
    bias = table.t().index_select(1, index.flatten())
    return bias.reshape(-1, *index.shape).transpose(0, 1)
