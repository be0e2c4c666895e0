"""Resizing of the parameters whose shape depends on image, window or patch size."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lightvit_dense.utils.relative_bias import EXTRA, resize_relative_bias, split_rows

# Tables of absolute positions; a tracker has a second one for its template.
TABLES = ('pos_embed', 'pos_embed_z')


def guess_grid(tokens: int, prefixes: Sequence[int] = (0, 1)) -> tuple[tuple[int, int], int] | None:
    """Tell the square grid and the prefix rows, tried in this order, of a position table."""
    for prefix in prefixes:
        side = math.isqrt(max(tokens - prefix, 0))
        if side and side * side == tokens - prefix:
            return (side, side), prefix
    return None


def resize_pos_embed(
    pos_embed: Tensor,
    grid: tuple[int, int],
    num_prefix_tokens: int,
    source_grid: tuple[int, int] | None = None,
    source_prefixes: Sequence[int] = (0, 1),
) -> Tensor:
    """Resize a table of absolute positions by bicubic interpolation; it keeps its dtype.

    [1, P + h * w, C] -> [1, num_prefix_tokens + height * width, C]. Prefix rows that the source
    lacks become zero (MAE's own choice for the class token), rows too many are dropped. A source
    without ``source_grid`` (height, width) is taken for square, with one of the numbers of prefix
    rows ``source_prefixes``, likeliest first; a ValueError says if its rows fit no grid.
    """
    tokens = pos_embed.shape[1]
    if source_grid is None:
        guess = guess_grid(tokens, source_prefixes)
        if guess is None:
            raise ValueError(f'{tokens} positions are no square grid; give source_grid')
        source_grid, source_prefix = guess
    else:
        source_prefix = tokens - source_grid[0] * source_grid[1]
        if source_prefix < 0:
            raise ValueError(f'{tokens} positions cannot be a grid of {source_grid}')
    prefix, patches = pos_embed[:, :source_prefix], pos_embed[:, source_prefix:]
    if source_grid != tuple(grid):
        channels = pos_embed.shape[2]
        # [1, h * w, C] -> [1, C, h, w]
        table = patches.float().reshape(1, *source_grid, channels).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=grid, mode='bicubic', align_corners=False)
        # [1, C, H, W] -> [1, H * W, C]
        patches = table.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    prefix = prefix[:, :num_prefix_tokens]
    lacking = num_prefix_tokens - prefix.shape[1]
    if lacking:
        prefix = torch.cat([prefix, prefix.new_zeros(1, lacking, prefix.shape[2])], dim=1)
    return torch.cat([prefix, patches], dim=1)


def resize_rel_pos(rel_pos: Tensor, length: int) -> Tensor:
    """Resize relative positions [2 * size - 1, d] to [length, d], linearly as ViTDet does."""
    if rel_pos.shape[0] == length:
        return rel_pos
    # [L, D] -> [1, D, L]
    table = rel_pos.float().t().unsqueeze(0)
    table = F.interpolate(table, size=length, mode='linear', align_corners=False)
    return table.squeeze(0).t().contiguous().to(rel_pos.dtype)


def resize_patch_embed(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a kernel [C, 3, p, p] to [C, 3, height, width] (FlexiViT, eq. 4)."""
    if tuple(weight.shape[-2:]) == tuple(size):
        return weight
    # Rarely needed, and timm takes a second to import.
    from timm.layers import resample_patch_embed

    return resample_patch_embed(weight.float(), list(size)).to(weight.dtype)


def _resize_bias(
    table: Tensor, rows: int, grid: tuple[int, int], source_grid: tuple[int, int] | None
) -> Tensor | None:
    """Resize a table of relative biases to one of a grid, or of a square window in it."""
    extra = rows - (2 * grid[0] - 1) * (2 * grid[1] - 1)
    if extra not in (0, EXTRA):
        window = split_rows(rows)
        if window is None:
            return None
        grid, extra = (window[0], window[0]), window[1]
    try:
        return resize_relative_bias(table, grid, extra, source_grid)
    except ValueError:  # no square, and not of the source's grid
        return None


def resize_parameter(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    grid: tuple[int, int] | None = None,
    num_prefix_tokens: int = 1,
    source_grid: tuple[int, int] | None = None,
    source_prefixes: Sequence[int] = (0, 1),
) -> Tensor | None:
    """Resize a parameter, whose kind its name tells, to a shape; None if there is no sound way."""
    last = name.rsplit('.', 1)[-1]
    resized: Tensor | None = None
    if tensor.ndim != len(shape):
        return None
    if last in TABLES and tensor.ndim == 3 and tensor.shape[2] == shape[2] and grid:
        if source_grid or guess_grid(tensor.shape[1], source_prefixes):
            resized = resize_pos_embed(
                tensor, grid, num_prefix_tokens, source_grid, source_prefixes
            )
    elif last in ('rel_pos_h', 'rel_pos_w') and tensor.shape[1] == shape[1]:
        resized = resize_rel_pos(tensor, shape[0])
    elif name.endswith('patch_embed.proj.weight') and tensor.shape[:2] == shape[:2]:
        resized = resize_patch_embed(tensor, (shape[2], shape[3]))
    elif last == 'relative_position_bias_table' and tensor.shape[1] == shape[1] and grid:
        resized = _resize_bias(tensor, shape[0], grid, source_grid)
    return resized if resized is not None and tuple(resized.shape) == tuple(shape) else None
