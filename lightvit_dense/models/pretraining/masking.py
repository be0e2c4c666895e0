"""Random masking, spoken in index tensors."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Masking(NamedTuple):
    """Which patches an encoder sees."""

    ids_keep: Tensor  # visible patches [B, K], in the order the encoder gets them
    ids_mask: Tensor  # masked patches [B, N-K]
    ids_restore: Tensor  # place of patch n in ``cat(ids_keep, ids_mask)`` [B, N]


def random_masking(
    batch: int,
    num_patches: int,
    mask_ratio: float,
    noise: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Masking:
    """Draw a random subset of patches for each image (MAE §3: the lowest noise is kept).

    The number kept is ``int(num_patches * (1 - mask_ratio))``, rounding down as MAE does. ``noise``
    [B, N] is ranked instead of fresh uniform values.
    """
    keep = int(num_patches * (1 - mask_ratio))
    if not 0 < keep <= num_patches:
        raise ValueError(f'mask_ratio={mask_ratio} keeps {keep} of {num_patches} patches')
    if noise is None:
        noise = torch.rand(batch, num_patches, device=device)
    elif noise.shape != (batch, num_patches):
        raise ValueError(f'noise is {tuple(noise.shape)}, expected {(batch, num_patches)}')
    order = noise.argsort(dim=1)
    return Masking(order[:, :keep], order[:, keep:], order.argsort(dim=1))


def unit_masking(
    batch: int,
    grid: tuple[int, int],
    unit: int,
    mask_ratio: float,
    noise: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw random squares of patches [B, M]; their number is rounded up, as SimMIM does.

    Squares have a side of ``unit`` patches; ``noise`` [B, squares] is ranked instead of fresh
    uniform values, and the lowest are masked. Raises ValueError if squares do not fill the grid.
    """
    rows, columns = grid
    if unit < 1 or rows % unit or columns % unit:
        raise ValueError(f'{rows}x{columns} patches are no whole number of units of side {unit}')
    if not 0 < mask_ratio <= 1:
        raise ValueError(f'mask_ratio={mask_ratio} must lie in (0, 1]')
    across = columns // unit
    units = rows // unit * across
    if noise is None:
        noise = torch.rand(batch, units, device=device)
    elif noise.shape != (batch, units):
        raise ValueError(f'noise is {tuple(noise.shape)}, expected {(batch, units)}')
    masked = noise.argsort(dim=1)[:, : math.ceil(units * mask_ratio)]  # [B, m]
    corner = masked // across * (unit * columns) + masked % across * unit
    steps = torch.arange(unit, device=masked.device)
    inside = (steps[:, None] * columns + steps).flatten()  # [unit²]
    return (corner[..., None] + inside).flatten(1)  # [B, m*unit²]
