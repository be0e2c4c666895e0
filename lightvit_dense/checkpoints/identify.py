"""The sizes of a backbone, read off the shapes of its parameters."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from .key_mapping import is_hiera
from .resize import guess_grid

# Every published ViT of these widths has these heads; narrower ones differ (DeiT 3 and 6, the
# papers 12, MoCo-v3 12).
FAMILIES = {'vit': 'ViT', 'hiera': 'Hiera', 'swin': 'Swin'}
USUAL_HEADS = {768: 12, 1024: 16, 1280: 16}


@dataclass
class Sizes:
    """The sizes of a backbone that the shapes of its parameters give."""

    family: str  # 'vit', 'hiera' or 'swin'
    width: int  # of the tokens; of the first stage of Hiera and Swin
    depth: int
    patch: int  # side of the patch embedding's kernel in pixels
    mlp_ratio: float
    grid: tuple[int, int] | None  # (rows, columns) of the position table; None if not square
    prefix: int  # rows of the position table that belong to no patch
    cls_token: bool
    registers: int
    qkv_bias: bool
    final_norm: bool
    stages: tuple[int, ...] = ()  # blocks of each stage of Hiera or Swin
    heads: int | None = None  # of Hiera's first stage; shapes alone never tell
    heads_from: str = ''
    rel_pos: list[int] = field(default_factory=list)  # rows of decomposed tables by block
    relative_bias: bool = False  # BEiT's
    window: int = 0  # side of Swin's windows in tokens

    def __str__(self) -> str:
        """Return the sizes as a line for people."""
        grid = 'x'.join(map(str, self.grid)) if self.grid else 'unknown'
        stages = f' in stages {"-".join(map(str, self.stages))}' if self.stages else ''
        heads = (
            f'{self.heads} ({self.heads_from})'
            if self.heads
            else 'not in the file (shapes do not tell them)'
        )
        tokens = f'{int(self.cls_token)} class token, {self.registers} registers'
        options = [
            'no qkv bias' if not self.qkv_bias else '',
            'no final norm' if not self.final_norm else '',
            'decomposed relative positions' if self.rel_pos else '',
            'relative position biases' if self.relative_bias else '',
            f'windows of {self.window}' if self.window else '',
        ]
        return (
            f'{FAMILIES[self.family]}: width {self.width}, '
            f'{self.depth} blocks{stages}, patch {self.patch}, position grid {grid}, {tokens}, '
            f'mlp ratio {self.mlp_ratio:g}, heads: {heads}'
            + ''.join(f', {option}' for option in options if option)
        )

    def plain(self) -> dict[str, Any]:
        """Return the sizes as plain data."""
        return asdict(self)


def _stages(state: Mapping[str, Tensor], depth: int) -> tuple[int, ...]:
    """Count the blocks of Hiera's stages: each but the first begins with a wider block."""
    starts = [0] + [i for i in range(depth) if f'blocks.{i}.proj.weight' in state] + [depth]
    return tuple(b - a for a, b in itertools.pairwise(starts))


def _heads(state: Mapping[str, Tensor], width: int) -> tuple[int | None, str]:
    for name, tensor in state.items():
        if name.endswith('attn.relative_position_bias_table'):
            return tensor.shape[1], 'from the relative position biases'
        if name.endswith('attn.rel_pos_h'):
            return width // tensor.shape[1], 'from the relative position tables'
    heads = USUAL_HEADS.get(width)
    return heads, 'by convention for this width, not in the file' if heads else ''


def _identify_swin(state: Mapping[str, Tensor], kernel: Tensor) -> Sizes:
    """Read the sizes of a Swin; its image is taken for that whose last map is one window."""
    blocks = Counter(
        m[1] for m in (re.match(r'layers\.(\d+)\..*mlp\.fc1\.weight', n) for n in state) if m
    )
    table = state['layers.0.blocks.0.attn.relative_position_bias_table']
    window = (math.isqrt(len(table)) + 1) // 2
    side = window * 2 ** (len(blocks) - 1)
    return Sizes(
        family='swin',
        width=kernel.shape[0],
        depth=sum(blocks.values()),
        patch=kernel.shape[-1],
        mlp_ratio=len(state['layers.0.blocks.0.mlp.fc1.weight']) / kernel.shape[0],
        grid=(side, side),
        prefix=0,
        cls_token=False,
        registers=0,
        qkv_bias=True,
        final_norm='norm.weight' in state,
        stages=tuple(blocks[str(stage)] for stage in range(len(blocks))),
        heads=table.shape[1],
        heads_from='from the relative position biases',
        window=window,
    )


def identify(state: Mapping[str, Tensor]) -> Sizes | None:
    """Read the sizes of a backbone off its parameters.

    Args:
        state: Tensors by our names, see :func:`~lightvit_dense.checkpoints.convert`.

    Returns:
        The sizes, or None if this is no backbone of ours.
    """
    kernel = state.get('patch_embed.proj.weight')
    if kernel is not None and 'layers.0.blocks.0.mlp.fc1.weight' in state:
        return _identify_swin(state, kernel)
    blocks = {int(m[1]) for m in (re.match(r'blocks\.(\d+)\.mlp\.', n) for n in state) if m}
    if kernel is None or kernel.ndim != 4 or not blocks:
        return None
    width, depth = kernel.shape[0], max(blocks) + 1
    hiera = is_hiera(state)
    registers = state['reg_token'].shape[1] if 'reg_token' in state else 0
    cls_token = 'cls_token' in state
    table = state.get('pos_embed')
    rows = (int(cls_token) + registers, int(cls_token), 0, 1)
    found = None if table is None else guess_grid(table.shape[1], rows)
    hidden = state.get('blocks.0.mlp.fc1.weight')
    heads, heads_from = (None, '') if hiera else _heads(state, width)
    return Sizes(
        family='hiera' if hiera else 'vit',
        width=width,
        depth=depth,
        patch=kernel.shape[-1],
        mlp_ratio=hidden.shape[0] / width if hidden is not None else 4.0,
        grid=found[0] if found else None,
        prefix=found[1] if found else 0,
        cls_token=cls_token,
        registers=registers,
        qkv_bias='blocks.0.attn.qkv.bias' in state,
        final_norm='norm.weight' in state,
        stages=_stages(state, depth) if hiera else (),
        heads=heads,
        heads_from=heads_from,
        rel_pos=[
            state[f'blocks.{i}.attn.rel_pos_h'].shape[0]
            for i in range(depth)
            if f'blocks.{i}.attn.rel_pos_h' in state
        ],
        relative_bias=any(n.endswith('relative_position_bias_table') for n in state),
    )
