"""The patch tokens behind every layer of a backbone.

Layers are counted as in "A Closer Look at Self-Supervised Lightweight Vision Transformers"
(Figure 2) and its code: 0 is the patch embedding, i the output of block i. What is read is the
*normalised* output: that of the ``norm1`` of the next block, and that of the final norm behind the
last. A network of 12 blocks has the 13 layers 0..12.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones import Hiera
from lightvit_dense.models.backbones.hiera_tokens import from_units

KINDS = ('norm', 'block')


@torch.inference_mode()
def layer_maps(backbone: Any, images: Tensor, kind: str = 'norm') -> dict[int, Tensor]:
    """Return the tokens of all layers as maps {layer: [B, rows, columns, C]}, without class token.

    ``kind`` is 'norm' for normalised tokens, 'block' for the blocks' outputs as they are. A Hiera's
    layers differ in side and width; the norm of a block that pools reads the map before pooling.
    """
    if kind not in KINDS:
        raise UserError(f'features {kind!r} are unknown; take one of {", ".join(KINDS)}')
    depth = backbone.num_layers
    # The block's outputs are kept, and each is replaced by its normalised form: no copies remain.
    encoding = backbone.encode(images, hidden_of=range(depth + (kind == 'block')))
    hidden = encoding.hidden
    if kind == 'norm':
        for layer in range(depth):
            hidden[layer] = backbone.blocks[layer].norm1(hidden[layer])
        hidden[depth] = encoding.tokens
    size = images.shape[-2:]
    return {layer: to_map(backbone, hidden[layer], size) for layer in range(depth + 1)}


def layer_features(backbone: Any, images: Tensor, kind: str = 'norm') -> dict[int, Tensor]:
    """Return the tokens of all layers row by row: {layer: [B, N, C]}; see :func:`layer_maps`."""
    maps = layer_maps(backbone, images, kind)
    return {layer: tokens.flatten(1, 2) for layer, tokens in maps.items()}


def to_map(backbone: Any, tokens: Tensor, size: Sequence[int]) -> Tensor:
    """Bring tokens [B, prefix+N, C] of images (size in px) to places [B, rows, columns, C]."""
    height, width = size
    if isinstance(backbone, Hiera):
        units = (height // backbone.unit_size, width // backbone.unit_size)
        # [B, U*T, C] -> [B, U, T, C] -> [B, rows, columns, C]
        return from_units(tokens.unflatten(1, (units[0] * units[1], -1)), units)
    rows, columns = height // backbone.patch_size, width // backbone.patch_size
    tokens = tokens[:, backbone.num_prefix_tokens :]
    merged = math.isqrt(rows * columns // tokens.shape[1])  # patches a token, a side: Swin's
    return tokens.unflatten(1, (rows // merged, columns // merged))
