"""Swin (Liu et al. 2021): the original's names and timm's, plain or inside the papers' SimMIM."""

import re

from .base import Context, State

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
