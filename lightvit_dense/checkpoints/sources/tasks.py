"""OSTrack's positions (Ye et al. 2022) and the names of OpenMMLab's ViTs."""

import torch

from .base import Context, State, rename

_OPENMMLAB = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.', 'blocks.'),
    (r'^(blocks\.\d+)\.ln([12])\.', r'\1.norm\2.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
    (r'^ln1\.', 'norm.'),
)


def openmmlab_names(state: State, _: Context) -> State:
    """Turn the names of a ViT of mmsegmentation's or mmpretrain's into ours."""
    return rename(state, _OPENMMLAB)


def search_positions(state: State, context: Context) -> State:
    """Make OSTrack's trained positions of the search image the backbone's.

    OSTrack trains ``pos_embed_z`` and ``pos_embed_x``, for template and search image, and leaves
    ``pos_embed`` as it was loaded; only its row for the class token is of use. A tracker of ours
    takes the template's as well, and has no class token.
    """
    if 'pos_embed_x' not in state or context.wants('pos_embed_x'):
        return state
    tables = ['pos_embed_x']
    row = None
    if not context.wants('pos_embed_z'):
        tables = [name for name in ('pos_embed_z', 'pos_embed_x') if name in state]
        row = state.get('cls_pos_embed')
        if row is None and 'pos_embed' in state:
            row = state['pos_embed'][:, :1]
    search = state['pos_embed_x']
    state['pos_embed'] = search if row is None else torch.cat([row, search], dim=1)
    context.notes.append('pos_embed is pos_embed_x, the trained positions of the search image')
    context.drop(state, [n for n in (*tables, 'cls_pos_embed') if n in state])
    return state
