"""Random masking, spoken in index tensors."""

from typing import NamedTuple

import torch
from torch import Tensor


class Masking(NamedTuple):
    """Which patches an encoder sees.

    Attributes:
        ids_keep: Visible patches [B, K], in the order the encoder gets them.
        ids_mask: Masked patches [B, N-K].
        ids_restore: Place of patch n in ``cat(ids_keep, ids_mask)`` [B, N].
    """

    ids_keep: Tensor
    ids_mask: Tensor
    ids_restore: Tensor


def random_masking(
    batch: int,
    num_patches: int,
    mask_ratio: float,
    noise: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Masking:
    """Draw a random subset of patches for each image (MAE §3: the lowest noise is kept).

    The number kept is ``int(num_patches * (1 - mask_ratio))``, rounding down as MAE does.

    Args:
        batch: Number of images.
        num_patches: Patches an image.
        mask_ratio: Share of patches hidden, in [0, 1).
        noise: Values [B, N] to rank instead of fresh uniform ones.
        device: Where to draw; ``noise`` decides if given.

    Returns:
        The index tensors.

    Raises:
        ValueError: If the ratio keeps no patch, or the noise has another shape.
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
