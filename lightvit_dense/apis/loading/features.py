"""Tokens and attention maps of a backbone, by layers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.models.backbones.hiera_tokens import from_units

POOLS = ('mean', 'cls', 'map')


def check_layers(backbone: Any, layers: Sequence[int], first: int) -> None:
    """Raise if a backbone has no such layers.

    Args:
        backbone: The backbone.
        layers: Layers, 1-based; 0 is the embedding.
        first: Least layer that makes sense.
    """
    depth = backbone.num_layers
    wrong = [n for n in layers if not isinstance(n, int) or not first <= n <= depth]
    if wrong or not layers:
        raise UserError(
            f'layers={wrong[0] if wrong else "()"}: the backbone has {depth} layers; give numbers '
            f'from {first} to {depth}'
        )


def check_pool(backbone: Any, pool: str | None) -> None:
    """Raise if there is no such pooling, or no class token."""
    if pool is not None and pool not in POOLS:
        raise UserError(
            f'pool={pool!r}: must be None or one of {", ".join(POOLS)}.'
            f'{did_you_mean(str(pool), POOLS)}'
        )
    if pool == 'cls' and not backbone.num_prefix_tokens:
        raise UserError("pool='cls': the backbone has no class token; give pool='mean'")


def side_multiple(backbone: Any) -> int:
    """Return what the sides of an image must be multiples of, in pixels."""
    return getattr(backbone, 'unit_size', backbone.patch_size)


def spatial(backbone: Any, tokens: Tensor, layer: int, size: tuple[int, int]) -> Tensor:
    """Bring patch tokens to their places.

    Args:
        backbone: The backbone.
        tokens: [B, prefix+N, C] as ``encode`` returns them.
        layer: The layer that they leave.
        size: (height, width) of the image in pixels.

    Returns:
        [B, rows, columns, C].
    """
    step = side_multiple(backbone)
    grid = (size[0] // step, size[1] // step)
    if hasattr(backbone, 'unit_side_of'):  # Hiera: [B, U*T, C] -> [B, U, T, C]
        return from_units(tokens.unflatten(1, (grid[0] * grid[1], -1)), grid)
    if hasattr(backbone, 'grid_of'):  # Swin, whose stages merge patches
        merged = backbone.grid_size[0] // backbone.grid_of(layer)[0]
        grid = (size[0] // backbone.patch_size // merged, size[1] // backbone.patch_size // merged)
    return tokens[:, backbone.num_prefix_tokens :].unflatten(1, grid)


def pooled(
    backbone: Any, tokens: Tensor, layer: int, size: tuple[int, int], pool: str | None
) -> Tensor:
    """Give tokens the form that is asked for; see :meth:`~lightvit_dense.apis.Model.features`."""
    prefix = backbone.num_prefix_tokens
    if pool == 'cls':
        return tokens[:, 0]
    if pool == 'mean':
        return tokens[:, prefix:].mean(1)
    places = spatial(backbone, tokens, layer, size)
    if pool == 'map':
        return places.permute(0, 3, 1, 2)
    # Class token first, patches in raster order: [B, prefix+N, C]
    return torch.cat([tokens[:, :prefix], places.flatten(1, 2)], dim=1)


def attention_maps(
    backbone: Any, images: Tensor, layers: Sequence[int], class_token: bool
) -> dict[int, Tensor]:
    """Return attention after softmax; see :meth:`~lightvit_dense.apis.Model.attention`."""
    shifted = [n for n in layers if any(getattr(backbone.blocks[n - 1], 'shift_size', ()))]
    if shifted:
        others = [n for n in range(1, backbone.num_layers + 1) if n not in shifted]
        raise UserError(
            f'layers={shifted}: attend in shifted windows, whose masks are not told here; layers '
            f'{others} do not'
        )
    prefix = 0 if class_token else backbone.num_prefix_tokens
    logits = backbone.attention_logits(images, layers)
    return {n: logits[n][:, :, prefix:, prefix:].float().softmax(-1) for n in layers}
