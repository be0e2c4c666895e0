"""Models of tasks that carry a ViT: OSTrack (Ye et al. 2022) and detectron2's ViTDet."""

import torch

from .base import Context, Source, State


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


OSTRACK = Source(
    'OSTrack',
    prefix='backbone.',
    drop=r'(template|search)_segment_pos_embed$',
    marks=(r'backbone\.pos_embed_x$',),
    steps=(search_positions,),
)
DETECTRON2 = Source('detectron2 ViTDet', prefix='backbone.net.')
