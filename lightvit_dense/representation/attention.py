"""How far and how broadly the heads of a network look.

Attention distance and entropy are those of "A Closer Look at Self-Supervised Lightweight Vision
Transformers" (equations 1 and 2, Figure 5), computed as in the authors' code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones import Hiera

from .attention_maps import BUDGET, Layout, check_layers, stream_logits, token_layouts

EPSILON = 1e-6
"""Added to a probability before the logarithm, as in the authors' code."""
AUTHORS_PX = 14.0
"""Px from one token to the next in the authors' code, although their patches have 16."""


@dataclass(frozen=True)
class LayerStats:
    """Numbers of one layer, each head's a mean over images and queries."""

    layer: int  # 1-based
    distance: tuple[float, ...]  # mean distance of what a head attends to in px, by head
    entropy: tuple[float, ...]  # of a head's attention in nats, by head
    tokens: int  # keys that a query sees, the most where windows differ
    patch: float  # px from one key to the next
    max_entropy: float  # of uniform attention, log(tokens), or its mean where windows differ
    max_distance: float  # if each query looked at its farthest key only
    uniform_distance: float  # of uniform attention


def attention_distance(maps: Tensor, distances: Tensor, query_weights: Tensor) -> Tensor:
    """Return distances [W, q, k] weighted by maps [B, heads, W, q, k]; sums over images [heads]."""
    weights = (distances * query_weights[..., None]).to(maps)
    return torch.einsum('bhwqk,wqk->bh', maps, weights).double().sum(0)


def attention_entropy(maps: Tensor, query_weights: Tensor) -> Tensor:
    """Return ``-sum p log(p + 1e-6)`` over keys; arguments as of :func:`attention_distance`."""
    terms = (maps + EPSILON).log_().mul_(maps)
    # Keys in the maps' own precision, the many queries in double.
    return -torch.einsum('bhwq,wq->h', terms.sum(-1).double(), query_weights.to(maps.device))


class AttentionStats:
    """Distance and entropy of attention, gathered batch by batch.

    Prefix tokens, and tokens that fill up a window, are taken out, as queries and as keys, *before*
    the softmax; numbers are means over queries and images. A query sees the patches of its window
    (a Hiera's mask unit). Distances are in px of the image, of a pooled query from the middle of
    the 2x2 tokens that it was made of.

    Args:
        backbone: In evaluation mode, on its device.
        layers: Layers, 1-based; all by default.
        px_per_token: Px from one token to the next; the patch size by default, 'authors' for the
            14 of the authors' code. Plain vision transformers only.
        budget: Greatest number of logits to hold at a time.
    """

    def __init__(
        self,
        backbone: Any,
        layers: Sequence[int] | None = None,
        px_per_token: float | str | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.backbone, self.budget = backbone, budget
        self.layers = check_layers(backbone, layers)
        self.scale = _scale(backbone, px_per_token)
        self.images = 0
        self.layouts: dict[int, Layout] = {}
        self._size: tuple[int, int] | None = None
        self._sums: dict[int, Tensor] = {}  # distance and entropy [2, heads] by layer

    @torch.no_grad()
    def update(self, images: Tensor) -> None:
        """Add normalised images [B, 3, H, W], all of one size."""
        size = (images.shape[-2], images.shape[-1])
        if self._size is None:
            self._size, self.layouts = size, token_layouts(self.backbone, self.layers, size)
        elif size != self._size:
            raise ValueError(f'images of {size} px after images of {self._size} px')
        for layer, logits in stream_logits(self.backbone, images, self.layouts, self.budget):
            maps, layout = logits.softmax(-1), self.layouts[layer]
            weights = layout.query_weights().to(maps.device)
            distance = attention_distance(maps, layout.distances().to(maps.device), weights)
            found = torch.stack([distance * self.scale, attention_entropy(maps, weights)])
            self._sums[layer] = self._sums.get(layer, 0) + found
        self.images += len(images)

    def result(self) -> list[LayerStats]:
        """Return the means over all images, by layer."""
        if not self.images:
            raise ValueError('no image was given to update()')
        found = []
        for layer, layout in self.layouts.items():
            far, seen = layout.distances() * self.scale, layout.patches()
            weights = layout.query_weights()
            if layout.real is not None:
                far = far * layout.real[:, None]  # fillings are seen by nobody
            uniform = far.sum(-1) / seen[:, None]
            distance, entropy = (self._sums[layer] / self.images).tolist()
            found.append(
                LayerStats(
                    layer,
                    tuple(distance),
                    tuple(entropy),
                    int(seen.max()),
                    layout.stride * self.scale,
                    (weights.sum(1) * seen.log()).sum().item(),
                    (far.amax(-1) * weights).sum().item(),
                    (uniform * weights).sum().item(),
                )
            )
        return found


def _scale(backbone: Any, px_per_token: float | str | None) -> float:
    """Return what distances in px of the image are multiplied by."""
    if px_per_token is None:
        return 1.0
    if isinstance(backbone, Hiera):
        raise UserError(
            'px_per_token: the tokens of a Hiera lie closer in its first stages than in its last; '
            'leave the option out, and distances are px of the image'
        )
    try:
        px = AUTHORS_PX if px_per_token == 'authors' else float(px_per_token)
    except ValueError:
        px = math.nan
    if not 0 < px < math.inf:
        raise UserError(
            f"px_per_token is 'authors' (14) or a positive number, got {px_per_token!r}"
        )
    return px / backbone.patch_size
