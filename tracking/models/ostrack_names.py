"""OSTrack's names of a tracker's parameters, and ours."""

import re

import torch
from torch import Tensor

State = dict[str, Tensor]

_BRANCHES = {'ctr': 'score', 'offset': 'offset', 'size': 'size'}
# A layer of OSTrack's is (convolution, norm, activation), the last a convolution alone.
_THEIRS = re.compile(r'box_head\.conv(\d)_(ctr|offset|size)\.(?:(\d)\.)?(\w+)$')
_OURS = re.compile(r'head\.(score|offset|size)\.(\d+)\.(\w+)$')


def is_ostrack(state: State) -> bool:
    """Tell whether parameters have the names of OSTrack's whole tracker."""
    return any(name.endswith('backbone.pos_embed_x') for name in state) and any(
        _THEIRS.match(name.removeprefix('module.')) for name in state
    )


def from_ostrack(state: State) -> State:
    """Give the parameters of OSTrack's tracker our names.

    Its class token and the positions of its pre-training, which it does not use, are left out.
    """
    found: State = {}
    for name, tensor in state.items():
        name = name.removeprefix('module.')
        head = _THEIRS.match(name)
        if head:
            layer, branch, part, kind = head.groups()
            place = 3 * (int(layer) - 1) + int(part or 0)
            found[f'head.{_BRANCHES[branch]}.{place}.{kind}'] = tensor
        elif name == 'backbone.pos_embed_x':
            found['backbone.pos_embed'] = tensor
        elif name not in ('backbone.pos_embed', 'backbone.cls_token', 'backbone.cls_pos_embed'):
            found[name] = tensor
    return found


def to_ostrack(state: State) -> State:
    """Give the parameters of a tracker of ours, a ViT with a centre head, OSTrack's names.

    What OSTrack's class has and never uses is zero, so that it loads them strictly.
    """
    theirs = {ours: name for name, ours in _BRANCHES.items()}
    width = state['backbone.pos_embed'].shape[2]
    found = {
        'backbone.cls_token': torch.zeros(1, 1, width),
        'backbone.pos_embed': torch.zeros(1, 14 * 14 + 1, width),
    }
    for name, tensor in state.items():
        head = _OURS.match(name)
        if head:
            branch, place, kind = head.groups()
            layer, part = divmod(int(place), 3)
            middle = '' if layer == 4 else f'{part}.'
            found[f'box_head.conv{layer + 1}_{theirs[branch]}.{middle}{kind}'] = tensor
        elif name == 'backbone.pos_embed':
            found['backbone.pos_embed_x'] = tensor
        elif re.match(
            r'backbone\.(pos_embed_z$|patch_embed\.|norm\.|blocks\.\d+\.(?!proj\.))', name
        ):
            found[name] = tensor
        else:
            raise ValueError(f'OSTrack has no place for {name}: it is a ViT with a CenterHead')
    return found
