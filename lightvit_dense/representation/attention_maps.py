"""Attention logits, a few images at a time, and where their queries and keys lie in the image."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones import Hiera, SwinTransformer
from lightvit_dense.models.backbones.hiera_layers import HieraBlock
from lightvit_dense.models.backbones.hiera_tokens import to_units
from lightvit_dense.models.layers.windows import split_windows

BUDGET = 2**25
"""Logits held at a time, all layers and images together: 128 MiB in fp32."""


@dataclass(frozen=True)
class Layout:
    """Where the queries and keys of a layer lie, without prefix tokens; windows are apart."""

    queries: Tensor  # centres (row, column) in px [W, q, 2], W windows
    keys: Tensor  # centres in px [W, k, 2]
    stride: int  # px from one key to the next
    grid: tuple[int, int]  # (rows, columns) of the keys of all windows
    prefix: int = 0  # tokens before the patches, in queries and keys alike
    # Which tokens of a window are patches, bool [W, k]; the others fill up windows that do not
    # divide the image. None where all are.
    real: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(windows, queries, keys), the latter two of one window."""
        return self.keys.shape[0], self.queries.shape[1], self.keys.shape[1]

    @property
    def logits(self) -> int:
        """Number of logits of one head for one image, prefix tokens included."""
        windows, queries, keys = self.shape
        return windows * (queries + self.prefix) * (keys + self.prefix)

    def distances(self) -> Tensor:
        """Return the Euclidean distances from queries to keys in px [W, q, k], float64."""
        return torch.cdist(self.queries, self.keys, compute_mode='donot_use_mm_for_euclid_dist')

    def patches(self) -> Tensor:
        """Return how many patches the queries of a window see [W], float64."""
        if self.real is None:
            return torch.full(self.keys.shape[:1], self.keys.shape[1], dtype=torch.float64)
        return self.real.sum(1).double()

    def query_weights(self) -> Tensor:
        """Return the weight of each query in a mean [W, q], float64, of sum 1."""
        found = torch.ones(self.queries.shape[:2], dtype=torch.float64)
        if self.real is not None:
            found = self.real.double()
        return found / found.sum()

    def in_raster(self) -> 'tuple[Layout, Tensor, Tensor]':
        """Return the layout with queries and keys row by row, and their old places [q] and [k].

        Windows keep the order of their tokens.
        """
        queries, keys = (
            torch.arange(x.shape[1])
            if x.shape[0] > 1
            # Rows first: columns are smaller than the factor.
            else (x[0, :, 0] * (x.max() + 1) + x[0, :, 1]).argsort()
            for x in (self.queries, self.keys)
        )
        layout = Layout(
            self.queries[:, queries], self.keys[:, keys], self.stride, self.grid, self.prefix
        )
        return layout, queries, keys

    def patches_only(self, logits: Tensor) -> Tensor:
        """Leave out prefix tokens and part the windows; keys that fill up a window get -inf.

        [B, heads, prefix + W*q, prefix + k] -> [B, heads, W, q, k].
        """
        windows, queries, _ = self.shape
        logits = logits[:, :, self.prefix :, self.prefix :].unflatten(2, (windows, queries))
        if self.real is None:
            return logits
        return logits.masked_fill(~self.real[:, None].to(logits.device), -math.inf)


def check_layers(backbone: Any, layers: Sequence[int] | None) -> list[int]:
    """Return the layers to look at, in ascending order; all by default."""
    remedy = (
        'take a config whose model.backbone is a lightvit_dense.VisionTransformer or a '
        'lightvit_dense.Hiera'
    )
    if not hasattr(backbone, 'attention_logits') or not hasattr(backbone, 'num_layers'):
        raise UserError(f'{type(backbone).__name__} does not show its attention; {remedy}')
    if isinstance(backbone, SwinTransformer):
        raise UserError(f'the places of tokens in shifted windows are not known here; {remedy}')
    depth = backbone.num_layers
    chosen = sorted(set(range(1, depth + 1) if layers is None else layers))
    wrong = [layer for layer in chosen if not 1 <= layer <= depth]
    if wrong or not chosen:
        raise UserError(
            f'layer {wrong[0] if wrong else "none"}: the backbone has layers 1 to {depth}'
        )
    return chosen


def token_layouts(backbone: Any, layers: Sequence[int], size: tuple[int, int]) -> dict[int, Layout]:
    """Tell where the tokens of layers (1-based) lie in images of (height, width) px.

    Tokens have the order of windows, or of a Hiera's units, whose pooled query is amid its 2x2.
    """
    hierarchical = isinstance(backbone, Hiera)
    unit = backbone.unit_size if hierarchical else backbone.patch_size
    if size[0] % unit or size[1] % unit:
        near = max(unit, round(size[0] / unit) * unit)
        raise UserError(
            f'images of {size[0]}x{size[1]} px are no whole number of {unit} px '
            f'{"mask units" if hierarchical else "patches"}; take --size {near}'
        )
    patch = backbone.patch_size
    grid = (size[0] // patch, size[1] // patch)
    rows, columns = ((torch.arange(count, dtype=torch.float64) + 0.5) * patch for count in grid)
    # [1, rows, columns, 2]
    centres = torch.stack(torch.meshgrid(rows, columns, indexing='ij'), dim=-1)[None]
    if not hierarchical:
        flat = centres.flatten(1, 2)  # [1, N, 2]
        whole = Layout(flat, flat, patch, grid, backbone.num_prefix_tokens)
        sides = {layer: getattr(backbone.blocks[layer - 1], 'window_size', 0) for layer in layers}
        return {
            layer: _window_layout(grid, side, patch) if side else whole
            for layer, side in sides.items()
        }
    return _hiera_layouts(backbone, layers, to_units(centres, backbone.mask_unit), grid)


def _window_layout(grid: tuple[int, int], window: int, patch: int) -> Layout:
    """Cut a grid into windows, filled up at the right and the bottom."""
    rows, columns = (-(-side // window) * window for side in grid)
    index = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    # [1, R*C, 2] -> [W, 1, n, 2] -> [W, n, 2]
    places = torch.stack(index, dim=-1).reshape(1, -1, 2)
    places = split_windows(places, (rows, columns), window, 1, 1)[0][:, 0]
    real = (places < torch.tensor(grid)).all(-1)
    centres = (places + 0.5).double() * patch
    return Layout(centres, centres, patch, (rows, columns), real=None if real.all() else real)


def _hiera_layouts(
    backbone: Hiera, layers: Sequence[int], centres: Tensor, grid: tuple[int, int]
) -> dict[int, Layout]:
    """Follow the centres [1, U, T, 2] of tokens through the poolings."""
    found, shrink = {}, 1
    for layer in range(1, max(layers) + 1):
        attention = cast(HieraBlock, backbone.blocks[layer - 1]).attn
        pooled = centres
        if attention.q_stride > 1:
            # The mean of the 2x2, [1, U, 4, T / 4, 2] -> [1, U, T / 4, 2], in the order of tokens.
            pooled = centres.unflatten(2, (attention.q_stride, -1)).mean(2)
        if layer in layers:
            # [1, U, T, 2] -> one window a unit [U, T, 2], or the image as one [1, U*T, 2]
            queries, keys = (
                x[0] if attention.mask_unit else x.flatten(1, 2) for x in (pooled, centres)
            )
            here = (grid[0] // shrink, grid[1] // shrink)
            found[layer] = Layout(queries, keys, backbone.patch_size * shrink, here)
        if attention.q_stride > 1:
            shrink *= 2
        centres = pooled
    return found


def logit_count(backbone: Any, layouts: dict[int, Layout]) -> dict[int, int]:
    """Return the number of logits of one image by layer, all heads together."""
    return {layer: backbone.heads_of(layer) * each.logits for layer, each in layouts.items()}


@torch.no_grad()
def stream_logits(
    backbone: Any, images: Tensor, layouts: dict[int, Layout], budget: int = BUDGET
) -> Iterator[tuple[int, Tensor]]:
    """Yield (layer, logits [b, heads, W, q, k]) of patches, never more than the budget."""
    counts = logit_count(backbone, layouts)
    groups: list[list[int]] = [[]]
    for layer in layouts:
        if groups[-1] and sum(counts[x] for x in [*groups[-1], layer]) > budget:
            groups.append([])
        groups[-1].append(layer)
    together = max(1, budget // sum(counts.values()))
    for part in images.split(together):
        for group in groups:
            found = backbone.attention_logits(part, group)
            for layer in group:
                logits = layouts[layer].patches_only(found.pop(layer))
                # Of half precision nothing is left after a sum over all tokens.
                yield layer, logits if logits.dtype == torch.float64 else logits.float()
