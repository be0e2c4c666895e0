"""Non-overlapping attention windows over a token grid."""

import torch.nn.functional as F
from torch import Tensor


def partition_windows(
    x: Tensor, grid: tuple[int, int], window: int
) -> tuple[Tensor, tuple[int, int]]:
    """Cut a token grid into windows.

    Where it does not divide, zero tokens pad it at the right and the bottom.

    Args:
        x: Tokens [B, rows*columns, C].
        grid: (rows, columns).
        window: Side of a window in tokens.

    Returns:
        Tokens [B*windows, window*window, C] and the padded (rows, columns).
    """
    batch, _, width = x.shape
    rows, columns = grid
    pad_h, pad_w = -rows % window, -columns % window
    x = x.reshape(batch, rows, columns, width)
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    padded = (rows + pad_h, columns + pad_w)
    # [B, nh*w, nw*w, C] -> [B, nh, w, nw, w, C] -> [B, nh, nw, w, w, C] -> [B*nh*nw, w*w, C]
    x = x.reshape(batch, padded[0] // window, window, padded[1] // window, window, width)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, width), padded


def merge_windows(x: Tensor, grid: tuple[int, int], padded: tuple[int, int], window: int) -> Tensor:
    """Undo :func:`partition_windows`.

    Args:
        x: Tokens [B*windows, window*window, C].
        grid: (rows, columns) without padding.
        padded: (rows, columns) with padding.
        window: Side of a window in tokens.

    Returns:
        Tokens [B, rows*columns, C].
    """
    down, across, width = padded[0] // window, padded[1] // window, x.shape[-1]
    # [B*nh*nw, w*w, C] -> [B, nh, nw, w, w, C] -> [B, nh, w, nw, w, C] -> [B, nh*w, nw*w, C]
    x = x.reshape(-1, down, across, window, window, width).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape(-1, padded[0], padded[1], width)[:, : grid[0], : grid[1]]
    return x.reshape(x.shape[0], grid[0] * grid[1], width)
