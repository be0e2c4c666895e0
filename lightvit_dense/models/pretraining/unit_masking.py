"""Random masking in squares of several patches, as SimMIM does it."""

import math

import torch
from torch import Tensor


def unit_masking(
    batch: int,
    grid: tuple[int, int],
    unit: int,
    mask_ratio: float,
    noise: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw random square units of patches for each image.

    The number of units masked is rounded up, as SimMIM does.

    Args:
        batch: Number of images.
        grid: (rows, columns) of patches.
        unit: Side of a unit in patches.
        mask_ratio: Share of units masked, in (0, 1].
        noise: Values [B, units] to rank instead of fresh uniform ones; the lowest are masked.
        device: Where to draw; ``noise`` decides if given.

    Returns:
        Indices of the masked patches [B, M], unit by unit.

    Raises:
        ValueError: If the grid is no whole number of units, the ratio is out of range, or the noise
            has another shape.
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
