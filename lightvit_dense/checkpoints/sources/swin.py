"""Swin (Liu et al. 2021): the original's names and timm's, plain or inside the papers' SimMIM."""

import re

from .base import Context, Source, State

_BLOCK = r'layers\.\d+\.blocks\.\d+\.'


def swin_names(state: State, context: Context) -> State:
    """Turn the original's names into timm's, and leave out what is no part of a Swin.

    The original's stages end with the merging of patches, timm's begin with it. Masks of the shift
    are computed; D²'s last block has queries and keys only and leads nowhere.
    """
    context.drop(state, [name for name in state if name.endswith('.attn_mask')])
    if 'mask_token' in state and not context.wants('mask_token'):
        context.drop(state, ['mask_token'])
    blocks = {m[0] for m in (re.match(_BLOCK, name) for name in state) if m}
    for block in sorted(b for b in blocks if f'{b}mlp.fc1.weight' not in state):
        context.drop(state, [name for name in state if name.startswith(block)])
        context.notes.append(
            f'{block[:-1]} has queries and keys only (decoupled distillation) and was left out'
        )
    if 'layers.0.downsample.reduction.weight' not in state:
        return state

    def later(match: re.Match) -> str:
        return f'layers.{int(match[1]) + 1}.downsample.'

    return {re.sub(r'^layers\.(\d+)\.downsample\.', later, n): t for n, t in state.items()}


def _sources(name: str, prefixes: tuple[str, ...], drop: str | None, *marks: str) -> list[Source]:
    return [
        Source(
            name,
            prefix=prefix,
            drop=drop,
            marks=tuple(re.escape(prefix) + mark for mark in (_BLOCK, *marks)),
            steps=(swin_names,),
        )
        for prefix in prefixes
    ]


SWIN = (
    # Its norm is the decoder's: the authors leave it out, and D²'s is of an earlier stage's width.
    *_sources(
        'SimMIM Swin',
        ('module.model.encoder.', 'model.encoder.', 'encoder.'),
        r'norm\.',
        'mask_token$',
    ),
    *_sources('mae-lite Swin', ('module.model.', 'model.'), None),
    *_sources('Swin', ('backbone.', ''), None),
)
