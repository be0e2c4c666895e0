"""Non-overlapping attention windows over a token grid."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_windows(x: Tensor, grid: tuple[int, int], window: int) -> tuple[Tensor, tuple[int, int]]:
    """Fill a grid of tokens [B, N, C] up to whole windows; return it and its new sides."""
    rows, columns = grid
    pad_h, pad_w = -rows % window, -columns % window
    padded = (rows + pad_h, columns + pad_w)
    if not pad_h and not pad_w:
        return x, padded
    batch, _, width = x.shape
    x = F.pad(x.reshape(batch, rows, columns, width), (0, 0, 0, pad_w, 0, pad_h))
    return x.reshape(batch, padded[0] * padded[1], width), padded


def split_windows(
    x: Tensor, grid: tuple[int, int], window: int, parts: int, heads: int
) -> tuple[Tensor, ...]:
    """Cut projected tokens into windows and heads, by one copy for both.

    ``parts`` tensors lie side by side in x [B, rows*columns, parts*heads*d], e.g. queries, keys and
    values; each becomes a contiguous [B*windows, heads, window*window, d].
    """
    batch, down, across = x.shape[0], grid[0] // window, grid[1] // window
    # [B, R*C, P*h*d] -> [B, R/w, w, C/w, w, P, h, d] -> [P, B, R/w, C/w, h, w, w, d]
    x = x.reshape(batch, down, window, across, window, parts, heads, -1)
    x = x.permute(5, 0, 1, 3, 6, 2, 4, 7)
    # -> P x [B*windows, h, w*w, d]
    return x.reshape(parts, -1, heads, window * window, x.shape[-1]).unbind(0)


def join_windows(x: Tensor, grid: tuple[int, int], padded: tuple[int, int], window: int) -> Tensor:
    """Undo both: [B*windows, heads, window*window, d] becomes [B, rows*columns, heads*d]."""
    down, across, heads = padded[0] // window, padded[1] // window, x.shape[1]
    # [B*windows, h, w*w, d] -> [B, R/w, C/w, h, w, w, d] -> [B, R/w, w, C/w, w, h, d]
    x = x.reshape(-1, down, across, heads, window, window, x.shape[-1])
    x = x.permute(0, 1, 4, 2, 5, 3, 6)
    if padded != grid:
        # -> [B, R, C, h*d] -> [B, rows, columns, h*d]
        x = x.reshape(x.shape[0], *padded, -1)[:, : grid[0], : grid[1]]
    return x.reshape(x.shape[0], grid[0] * grid[1], -1)
