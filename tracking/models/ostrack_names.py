"""OSTrack's names of a tracker's parameters, turned into ours."""

import re

from torch import Tensor

State = dict[str, Tensor]

_BRANCHES = {'ctr': 'score', 'offset': 'offset', 'size': 'size'}
# A layer of OSTrack's is (convolution, norm, activation), the last a convolution alone.
_THEIRS = re.compile(r'box_head\.conv(\d)_(ctr|offset|size)\.(?:(\d)\.)?(\w+)$')


def is_ostrack(state: State) -> bool:
    """Tell whether parameters have the names of OSTrack's whole tracker."""
    return any(name.endswith('backbone.pos_embed_x') for name in state) and any(
        _THEIRS.match(name.removeprefix('module.')) for name in state
    )


def from_ostrack(state: State) -> State:
    """Give OSTrack's parameters our names, without class token and unused positions."""
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
