"""3x3 convolutions of small maps as matrix products, with a third of the multiplications.

Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308). Maps lie as [s, s, R, C], so that nothing
is copied between the products, and a norm over the channels is one over the last axis.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..models.layers import LayerNorm2d

INPUT = [[4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
         [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
OUTPUT = [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
KERNEL = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
          [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip


def plain(layer: Any) -> bool:
    """Whether a layer of mmdet's heads is a 3x3 convolution with a LayerNorm, or no norm."""
    norm = layer.norm if layer.with_norm else nn.Identity()
    square = type(layer.conv) is nn.Conv2d and layer.conv.kernel_size == (3, 3)
    return square and isinstance(norm, LayerNorm2d | nn.Identity)


class WinogradLayer(nn.Module):
    """A :func:`plain` layer for maps [s, s, R, C] of a side."""

    def __init__(self, layer: Any, side: int) -> None:
        super().__init__()
        self.tiles = -(-side // 4)
        into, out = torch.zeros(6, self.tiles, side + 5), torch.zeros(side + 3, 6, self.tiles)
        for tile in range(self.tiles):
            into[:, tile, 4 * tile : 4 * tile + 6] = torch.tensor(INPUT)
            out[4 * tile : 4 * tile + 4, :, tile] = torch.tensor(OUTPUT)
        self.register_buffer('into', into[:, :, 1 : side + 1].flatten(0, 1))  # [6 * t, s]
        self.register_buffer('out', out[:side].flatten(1))  # [s, 6 * t]
        self.register_buffer('points', torch.tensor(KERNEL))
        # [C', C, 3, 3] -> [3, 3, C, C']
        self.register_buffer('weight', layer.conv.weight.detach().permute(2, 3, 1, 0).contiguous())
        self.bias = layer.conv.bias
        self.norm = layer.norm if layer.with_norm else nn.Identity()
        self.activate = layer.activate

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise and activate."""
        side, regions, (*_, width, new) = x.shape[0], x.shape[2], self.weight.shape
        kernel = _along_both(self.points, self.weight).reshape(6, 1, 6, width, new)
        x = _along_both(self.into, x).reshape(6, self.tiles, 6, self.tiles * regions, width)
        x = (x @ kernel).reshape(6 * self.tiles, 6 * self.tiles, regions, new)
        x = _along_both(self.out, x).reshape(side, side, regions, new)
        x = x if self.bias is None else x + self.bias
        if isinstance(self.norm, LayerNorm2d):
            x = nn.LayerNorm.forward(self.norm, x)
        return self.activate(x)


def _along_both(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply a matrix [k, s] along the first two axes of [s, s, a, b]: [k, k, a * b]."""
    rows, side = matrix.shape
    return matrix @ (matrix @ x.reshape(side, -1)).reshape(rows, side, -1)
