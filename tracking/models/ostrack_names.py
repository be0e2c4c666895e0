"""OSTrack's names of a tracker's parameters, and ours."""

import math
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

    What OSTrack's class has and never uses is zero, so that it loads them strictly where its
    configuration says what :func:`ostrack_settings` returns.
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
    patch = state['backbone.patch_embed.proj.weight'].shape[-1]
    if patch != 16:
        raise ValueError(f"OSTrack's ViTs have patches of 16 px, this tracker has {patch}")
    return found


def ostrack_settings(state: State) -> str:
    """Say what OSTrack's configuration needs to load parameters with its names strictly."""
    template, search = (
        16 * math.isqrt(state[f'backbone.pos_embed_{part}'].shape[1]) for part in 'zx'
    )
    depth = len({name.split('.')[2] for name in state if name.startswith('backbone.blocks.')})
    return (
        f'DATA.TEMPLATE.SIZE {template}, DATA.SEARCH.SIZE {search}, MODEL.HEAD.NUM_CHANNELS '
        f'{state["box_head.conv1_ctr.0.weight"].shape[0]}, and a ViT of width '
        f'{state["backbone.pos_embed"].shape[2]} and depth {depth}'
    )
