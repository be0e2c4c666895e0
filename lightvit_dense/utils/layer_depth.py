"""The one place that knows how deep a parameter sits."""

import re
from collections.abc import Sequence

_BLOCK = re.compile(r'(?:^|\.)blocks\.(\d+)\.')
_STAGE = re.compile(r'(?:^|\.)layers\.(\d+)\.(?:downsample|blocks\.(\d+))\.')
_STEM = re.compile(r'(?:^|\.)(?:patch_embed|pos_embed(?:_z)?|cls_token|mask_token)(?:\.|$)')


def get_layer_id(name: str, num_layers: int, depths: Sequence[int] = ()) -> int:
    """Return the depth of a backbone parameter, its name with or without a prefix.

    Layer decay, freezing, loading of leading blocks and distillation all ask here. ``depths`` are
    the blocks of each stage of a Swin, counted stage by stage.

    Returns:
        0 for patch embedding, position table and class token; ``i + 1`` for ``blocks.i``;
        ``num_layers + 1`` for everything after the blocks (final norm, necks, heads). The merging
        of patches belongs to the block before it.
    """
    stage = _STAGE.search(name) if depths else None
    if stage:
        before = sum(depths[: int(stage.group(1))])
        return before + int(stage.group(2)) + 1 if stage.group(2) else before
    block = _BLOCK.search(name)
    # Blocks of a neck, head or decoder are not the backbone's.
    if block and not re.search(r'(?:^|\.)(?:decoder|neck|head|\w+_head)\.', name):
        return int(block.group(1)) + 1
    if _STEM.search(name) and not name.startswith('decoder'):
        return 0
    return num_layers + 1
