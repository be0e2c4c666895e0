"""The sizes of a backbone, read off the shapes of its parameters."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .key_mapping import STEM, is_hiera
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
    prefix: int = 0  # rows of the position table that belong to no patch
    cls_token: bool = False
    registers: int = 0
    qkv_bias: bool = True
    final_norm: bool = True
    stages: tuple[int, ...] = ()  # blocks of each stage of Hiera or Swin
    heads: int | None = None  # of Hiera's first stage; shapes alone never tell
    heads_from: str = ''
    rel_pos: list[int] = field(default_factory=list)  # rows of decomposed tables by block
    relative_bias: bool = False  # BEiT's
    window: int = 0  # side of Swin's windows in tokens

    def __str__(self) -> str:
        stages = f' in stages {"-".join(map(str, self.stages))}' if self.stages else ''
        told = f'{self.heads} ({self.heads_from})'
        heads = told if self.heads else 'not in the file (shapes do not tell them)'
        options = {
            'no qkv bias': not self.qkv_bias,
            'no final norm': not self.final_norm,
            'decomposed relative positions': self.rel_pos,
            'relative position biases': self.relative_bias,
            f'windows of {self.window}': self.window,
        }
        parts = (
            f'width {self.width}',
            f'{self.depth} blocks{stages}',
            f'patch {self.patch}',
            f'position grid {"x".join(map(str, self.grid)) if self.grid else "unknown"}',
            f'{int(self.cls_token)} class token',
            f'{self.registers} registers',
            f'mlp ratio {self.mlp_ratio:g}',
            f'heads: {heads}',
            *(option for option, there in options.items() if there),
        )
        return f'{FAMILIES[self.family]}: {", ".join(parts)}'


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


def _swin(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read what is Swin's own; its image is taken for that whose last map is one window."""
    blocks = Counter(
        m[1] for m in (re.match(r'layers\.(\d+)\..*mlp\.fc1\.weight', n) for n in state) if m
    )
    table = state['layers.0.blocks.0.attn.relative_position_bias_table']
    window = (math.isqrt(len(table)) + 1) // 2
    side = window * 2 ** (len(blocks) - 1)
    return dict(
        family='swin',
        depth=sum(blocks.values()),
        grid=(side, side),
        stages=tuple(blocks[str(stage)] for stage in range(len(blocks))),
        heads=table.shape[1],
        heads_from='from the relative position biases',
        window=window,
    )


def _plain(state: Mapping[str, Tensor], width: int, depth: int) -> dict[str, Any]:
    """Read what a ViT and a Hiera have: positions, tokens, stages, relative positions."""
    hiera = is_hiera(state)
    registers = state['reg_token'].shape[1] if 'reg_token' in state else 0
    cls_token = 'cls_token' in state
    rows = (int(cls_token) + registers, int(cls_token), 0, 1)
    found = guess_grid(state['pos_embed'].shape[1], rows) if 'pos_embed' in state else None
    grid, prefix = found or (None, 0)
    heads, heads_from = (None, '') if hiera else _heads(state, width)
    tables = [f'blocks.{i}.attn.rel_pos_h' for i in range(depth)]
    return dict(
        family='hiera' if hiera else 'vit',
        depth=depth,
        grid=grid,
        prefix=prefix,
        cls_token=cls_token,
        registers=registers,
        qkv_bias='blocks.0.attn.qkv.bias' in state,
        stages=_stages(state, depth) if hiera else (),
        heads=heads,
        heads_from=heads_from,
        rel_pos=[len(state[name]) for name in tables if name in state],
        relative_bias=any(n.endswith('relative_position_bias_table') for n in state),
    )


def identify(state: Mapping[str, Tensor]) -> Sizes | None:
    """Read the sizes of a backbone off its parameters by our names; None if it is none of ours."""
    kernel = state.get(STEM)
    blocks = {int(m[1]) for m in (re.match(r'blocks\.(\d+)\.mlp\.', n) for n in state) if m}
    swin = 'layers.0.blocks.0.mlp.fc1.weight' in state
    if kernel is None or kernel.ndim != 4 or not (swin or blocks):
        return None
    width = kernel.shape[0]
    hidden = state.get(f'{"layers.0." if swin else ""}blocks.0.mlp.fc1.weight')
    return Sizes(
        width=width,
        patch=kernel.shape[-1],
        mlp_ratio=4.0 if hidden is None else len(hidden) / width,
        final_norm='norm.weight' in state,
        **(_swin(state) if swin else _plain(state, width, max(blocks) + 1)),
    )
