"""3x3 convolutions of small maps as matrix products, with a third of the multiplications.

Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308). Maps lie as [s, s, R, C], so that nothing
is copied between the products, and a norm over the channels is one over the last axis.
"""

from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..models.layers import LayerNorm2d

# B^T, G and A^T of the paper for 6 points, 0, 1, -1, 2, -2 and infinity.
INPUT = (
    (4.0, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = ((1.0, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class WinogradLayer(nn.Module):
    """A :func:`plain` ``ConvModule`` for maps of a side."""

    def __init__(self, layer: ConvModule, side: int) -> None:
        super().__init__()
        self.tiles = -(-side // 4)
        weight, bias, self.norm = layer.conv.weight, layer.conv.bias, None
        if layer.with_norm and isinstance(layer.norm, _BatchNorm):
            norm: Any = layer.norm
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            weight, bias = fuse_conv_bn_weights(weight, bias, *statistics)
        elif layer.with_norm:
            self.norm = layer.norm
        self.activate = layer.activate if layer.with_activation else nn.Identity()
        into, out = torch.zeros(6, self.tiles, side + 5), torch.zeros(side + 3, 6, self.tiles)
        for tile in range(self.tiles):
            into[:, tile, 4 * tile : 4 * tile + 6] = torch.tensor(INPUT)
            out[4 * tile : 4 * tile + 4, :, tile] = torch.tensor(OUTPUT)
        self.register_buffer('into', into[:, :, 1 : side + 1].flatten(0, 1))  # [6 * t, s]
        self.register_buffer('out', out[:side].flatten(1))  # [s, 6 * t]
        self.register_buffer('points', torch.tensor(KERNEL))
        self.register_buffer('weight', weight.detach().permute(2, 3, 1, 0).contiguous())
        self.register_buffer('bias', None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise and activate [s, s, R, C]."""
        side, regions, (*_, width, new) = x.shape[0], x.shape[2], self.weight.shape
        kernel = _along_both(self.points, self.weight).reshape(6, 1, 6, width, new)
        x = _along_both(self.into, x).reshape(6, self.tiles, 6, self.tiles * regions, width)
        x = (x @ kernel).reshape(6 * self.tiles, 6 * self.tiles, regions, new)
        x = _along_both(self.out, x).reshape(side, side, regions, new)
        x = x if self.bias is None else x + self.bias
        return self.activate(x if self.norm is None else nn.LayerNorm.forward(self.norm, x))


def _along_both(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply a matrix [k, s] along the first two axes of [s, s, a, b]: [k, k, a * b]."""
    rows, side = matrix.shape
    return matrix @ (matrix @ x.reshape(side, -1)).reshape(rows, side, -1)


class WinogradLayers(nn.Module):
    """Convolutions one after the other, for maps [R, C, s, s]."""

    def __init__(self, layers: nn.ModuleList, side: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(WinogradLayer(layer, side) for layer in layers))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps [R, C, s, s]."""
        return self.layers(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)


def plain(layer: nn.Module) -> bool:
    """Whether a layer is a 3x3 convolution of stride 1, a norm that is known here, or none."""
    if type(layer) is not ConvModule or layer.order != ('conv', 'norm', 'act'):
        return False
    conv: Any = layer.conv
    sizes = conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups
    return (
        type(conv) is nn.Conv2d
        and sizes == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and (not layer.with_norm or isinstance(layer.norm, LayerNorm2d | _BatchNorm))
    )
