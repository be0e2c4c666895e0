"""Adaptive pooling that every runtime can express."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def pooling_matrix(length: int, cells: int) -> Tensor:
    """Return the weights [cells, length] by which torch's adaptive pooling makes cells."""
    ends = [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]
    return torch.tensor([[(a <= i < b) / (b - a) for i in range(length)] for a, b in ends])


class FixedAdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` of maps of one size, as two matrix products.

    Its windows differ where the cells do not divide the map; runtimes have windows of one size.
    """

    def __init__(self, cells: tuple[int, int]) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """Pool [B, C, H, W] to [B, C, rows, columns]."""
        rows, columns = map(pooling_matrix, x.shape[2:], self.cells)
        return rows @ x @ columns.t()


def with_fixed_pools(model: nn.Module) -> nn.Module:
    """Copy a model, its adaptive poolings replaced; a global average stays."""
    model = copy.deepcopy(model)
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size: Any = child.output_size
                cells = (size, size) if isinstance(size, int) else tuple(size)
                if cells != (1, 1):
                    setattr(parent, name, FixedAdaptivePool(cells))
    return model
