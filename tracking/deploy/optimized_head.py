"""The centre head for one crop: the score everywhere, size and offset where the score is best.

The numbers are those of :class:`CenterHead` up to rounding. What is left out:

- batch norms, which are part of the convolutions;
- size and offset at all cells but one: four 3x3 convolutions see 9x9 cells around it;
- products of the first convolution with eliminated tokens, which are zeros.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.decoding import hann_window

Layer = tuple[Tensor, Tensor]
_CLAMP = 1e-4  # score and size stay this far from 0 and 1, as in training


def folded_layers(branch: nn.Module) -> list[Layer]:
    """Return weights and biases of a branch's convolutions with the batch norms folded in."""
    layers: list[Layer] = []
    for module in branch.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
            layers.append((weight, bias))
        elif isinstance(module, nn.BatchNorm2d):
            weight, bias = layers[-1]
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = module.weight.detach() * (module.running_var + module.eps).rsqrt()
            layers[-1] = (
                weight * scale[:, None, None, None],
                (bias - module.running_mean) * scale + module.bias.detach(),
            )
        elif not isinstance(module, (nn.Sequential, nn.ReLU)):
            raise ValueError(f'an optimised head takes convolutions, got {type(module).__name__}')
    return layers


class OptimizedConv(nn.Module):
    """A convolution with fixed weights, channels last."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, padding: int, groups: int = 1) -> None:
        super().__init__()
        self.padding, self.groups = padding, groups
        self.register_buffer('weight', weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer('bias', bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [1, in, rows, columns]."""
        return F.conv2d(x, self.weight, self.bias, padding=self.padding, groups=self.groups)


class ScatteredConv(nn.Module):
    """A 3x3 convolution of a map (rows, columns) of which few cells are not zero."""

    weight: Tensor
    base: Tensor
    targets: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = self.grid = grid
        self.out = len(weight)
        # [out, in, 3, 3] -> [in, 9*out]
        self.register_buffer('weight', weight.permute(1, 2, 3, 0).reshape(weight.shape[1], -1))
        # One ring of cells more takes what falls outside of the map.
        table = bias.expand((rows + 2) * (columns + 2), -1)
        self.register_buffer('base', table.clone())
        cell = torch.arange(rows * columns)
        row, column = cell // columns, cell % columns
        tap = torch.arange(9)
        # A cell at (r, c) adds to (r + 1 - dy, c + 1 - dx), which the ring shifts by one.
        down = row[:, None] + 2 - tap // 3
        across = column[:, None] + 2 - tap % 3
        self.register_buffer('targets', down * (columns + 2) + across)  # [cells, 9]

    def forward(self, tokens: Tensor, cells: Tensor) -> Tensor:
        """Convolve tokens [K, in] at cells [K]; returns [1, out, rows, columns], channels last."""
        parts = (tokens @ self.weight).reshape(-1, self.out)  # [K*9, out]
        where = self.targets[cells].reshape(-1)
        rows, columns = self.grid
        padded = self.base.index_add(0, where, parts).reshape(rows + 2, columns + 2, self.out)
        return padded[1:-1, 1:-1].permute(2, 0, 1)[None]


class OptimizedCenterHead(nn.Module):
    """Box and score of one crop (height, width) from a map (rows, columns).

    Branches are from :func:`folded_layers`; ``few`` says whether few tokens come, with their cells.
    """

    window: Tensor
    scale: Tensor
    around: Tensor
    seven: Tensor

    def __init__(
        self,
        branches: Sequence[Sequence[Layer]],
        grid: tuple[int, int],
        crop: tuple[int, int],
        window: bool = True,
        few: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.few = grid, few
        score, size, offset = branches
        if len(score) != 5 or any(layer[0].shape[2] != 3 for layer in score[:4]):
            raise ValueError('an optimised head takes four 3x3 convolutions and a 1x1 convolution')
        first = ScatteredConv(*score[0], grid) if few else OptimizedConv(*score[0], padding=1)
        rest = [OptimizedConv(*layer, padding=layer[0].shape[2] // 2) for layer in score[1:]]
        self.score = nn.ModuleList([first, *rest])
        self.place = nn.ModuleList()
        for index, layers in enumerate(zip(size, offset, strict=True)):
            weight, bias = map(torch.cat, zip(*layers, strict=True))
            self.place.append(OptimizedConv(weight, bias, 0, groups=1 if index == 0 else 2))
        rows, columns = grid
        table = torch.from_numpy(hann_window(rows, columns)) if window else torch.ones(grid)
        self.register_buffer('window', table.reshape(-1))
        self.register_buffer('scale', torch.tensor([crop[1], crop[0]], dtype=torch.float32))
        nine = torch.arange(9)
        # Of a map with a ring of four zeros: the 9x9 cells around a cell, from its own number on.
        self.register_buffer('around', nine[:, None] * (columns + 8) + nine)
        self.register_buffer('seven', torch.arange(-3, 4))

    def _scores(self, tokens: Tensor, cells: Tensor | None) -> Tensor:
        """Return the scores of all cells [rows*columns]."""
        rows, columns = self.grid
        if self.few:
            x = self.score[0](tokens, cells)
        else:
            if cells is not None:  # too many for the scattered way; the others are zeros
                gaps = tokens.new_zeros(rows * columns, tokens.shape[1])
                tokens = gaps.index_copy(0, cells, tokens)
            # [N, C] -> [1, C, rows, columns], channels last without a copy
            x = self.score[0](tokens.reshape(rows, columns, -1).permute(2, 0, 1)[None])
        for layer in list(self.score)[1:]:
            x = layer(F.relu(x))
        return x.reshape(-1).sigmoid().clamp(_CLAMP, 1 - _CLAMP)

    def _padded(self, tokens: Tensor, cells: Tensor | None) -> Tensor:
        """Return the map with a ring of four zeros [(rows+8)*(columns+8), C]."""
        rows, columns = self.grid
        if cells is None:
            x = tokens.reshape(rows, columns, -1)
            return F.pad(x, (0, 0, 4, 4, 4, 4)).reshape((rows + 8) * (columns + 8), -1)
        row = torch.div(cells, columns, rounding_mode='floor')
        where = (row + 4) * (columns + 8) + cells - row * columns + 4
        zeros = tokens.new_zeros((rows + 8) * (columns + 8), tokens.shape[1])
        return zeros.index_copy(0, where, tokens)

    def _at(self, padded: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Return size [2] and offset [2], before the sigmoid, at a cell."""
        rows, columns = self.grid
        near = padded[(row * (columns + 8) + column + self.around).reshape(81)]
        x = near.reshape(9, 9, padded.shape[1]).permute(2, 0, 1)[None]  # [1, C, 9, 9]
        down, across = row + self.seven, column + self.seven
        # What lies outside of the map is zero to every layer, not what the one before makes there.
        real = ((down >= 0) & (down < rows))[:, None] & ((across >= 0) & (across < columns))
        inside = real.float()  # [7, 7]
        for index, layer in enumerate(list(self.place)[:-1]):
            x = F.relu(layer(x)) * inside
            inside = inside[1:-1, 1:-1] if index < 3 else inside
        size, offset = list(self.place)[-1](x).reshape(2, 2).unbind(0)
        return size, offset

    def forward(self, tokens: Tensor, cells: Tensor | None = None) -> Tensor:
        """Find the target among tokens [K, C] at cells [K], or at all cells in order.

        Returns [5]: x, y, width and height in pixels of the crop, and the score of the cell.
        """
        columns = self.grid[1]
        scores = self._scores(tokens, cells)
        best = (scores * self.window).argmax(0, keepdim=True)
        row = torch.div(best, columns, rounding_mode='floor')
        column = best - row * columns
        size, offset = self._at(self._padded(tokens, cells), row, column)
        cell = torch.cat([column, row]).float()
        sides = torch.tensor([columns, self.grid[0]], dtype=torch.float32, device=tokens.device)
        size = size.sigmoid().clamp(_CLAMP, 1 - _CLAMP)
        corner = (cell + offset) / sides - size / 2
        return torch.cat([corner * self.scale, size * self.scale, scores[best]])
