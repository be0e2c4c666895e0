"""BEiT's relative position bias (Bao et al. 2022): a learned number for each offset and head."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lightvit_dense.utils.relative_bias import EXTRA, Grid, resize_offsets


def table_rows(grid: Grid, cls_token: bool) -> int:
    """Return the rows of a table: offsets of a grid (rows, columns), and those of a class token."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + EXTRA * cls_token


def _pair_index(grid: Grid, cls_token: bool, device: torch.device) -> Tensor:
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
def _kept_pair_index(grid: Grid, cls_token: bool, device: torch.device) -> Tensor:
    # What is made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return _pair_index(grid, cls_token, device)


def pair_index(grid: Grid, cls_token: bool, device: torch.device) -> Tensor:
    """Return a table's row for each query and key, int64 [N, N], which all blocks share."""
    if torch.compiler.is_compiling():  # a compiler keeps constants by itself
        return _pair_index(grid, cls_token, device)
    return _kept_pair_index(grid, cls_token, device)


def relative_bias(
    table: Tensor, table_grid: Grid, grid: Grid, ids_keep: Tensor | None = None
) -> Tensor:
    """Return what is added to the attention logits of an image [1 or B, heads, N, N].

    The table [offsets, heads], or [offsets + 3, heads] with a class token, which N then counts, was
    made for ``table_grid`` and is resized to the ``grid`` of the image's patches. Of these only
    ``ids_keep`` [B, K] may be there, in their order.
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
