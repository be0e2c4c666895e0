"""Adaptive pooling that ONNX can express."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def pooling_matrix(length: int, cells: int) -> Tensor:
    """Return the weights [cells, length] by which torch's adaptive pooling makes cells."""
    # In numpy: a trace would record each step in torch.
    weights = np.zeros((cells, length), np.float32)
    for cell in range(cells):
        start, end = cell * length // cells, -(-(cell + 1) * length // cells)
        weights[cell, start:end] = 1 / (end - start)
    return torch.from_numpy(weights)


class FixedAdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products.

    ONNX's pooling has windows of one size; those of adaptive pooling differ where (rows,
    columns) of cells do not divide the image. Sizes become constants when the module is traced.
    """

    def __init__(self, cells: tuple[int, int]) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """Pool [B, C, H, W] to [B, C, rows, columns]."""
        height, width = int(x.shape[2]), int(x.shape[3])
        rows = pooling_matrix(height, self.cells[0]).to(x)
        columns = pooling_matrix(width, self.cells[1]).to(x)
        # [rows, H] x [B, C, H, W] x [W, columns] -> [B, C, rows, columns]
        return rows @ x @ columns.t()


def with_fixed_pools(model: nn.Module) -> nn.Module:
    """Copy a model, its adaptive poolings replaced; ONNX has a global average, which stays."""
    model = copy.deepcopy(model)
    for parent in model.modules():
        for name, child in parent.named_children():
            if not isinstance(child, nn.AdaptiveAvgPool2d):
                continue
            size: Any = child.output_size
            cells = (size, size) if isinstance(size, int) else tuple(size)
            if cells != (1, 1) and None not in cells:
                setattr(parent, name, FixedAdaptivePool(cells))
    return model
