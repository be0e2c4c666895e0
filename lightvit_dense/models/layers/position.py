"""Absolute position tables: 2-D sine-cosine values and resizing between grids."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sincos_position(dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> Tensor:
    """Return MAE's fixed 2-D sine-cosine table [1, prefix + rows*columns, dim], float32.

    The first half of the channels codes the column, the second half the row; each half is sines
    then cosines of ``position / 10000^(i / (dim/4))``. Prefix rows are zero. Raises ValueError if
    ``dim`` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f'a sine-cosine table needs a width divisible by 4, got {dim}')
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row, column = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing='ij',
    )
    halves = []
    for position in (column, row):
        angle = position.flatten()[:, None] * omega[None]  # [N, dim/4]
        halves += [angle.sin(), angle.cos()]
    table = torch.cat(halves, dim=1).float()
    return torch.cat([torch.zeros(num_prefix_tokens, dim), table])[None]


def resize_position(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], num_prefix_tokens: int = 0
) -> Tensor:
    """Resize a table [1, prefix + rows*columns, dim] to another grid, bicubically."""
    if old == new:
        return table
    prefix, patches = table[:, :num_prefix_tokens], table[:, num_prefix_tokens:]
    # [1, N, dim] -> [1, dim, rows, columns] -> resize -> [1, N', dim]
    image = patches.reshape(1, old[0], old[1], -1).permute(0, 3, 1, 2)
    image = F.interpolate(image.float(), size=new, mode='bicubic', align_corners=False)
    return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
