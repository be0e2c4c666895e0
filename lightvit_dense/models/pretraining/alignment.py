"""Which layers and which tokens of student and teacher belong together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def resolve_pairs(
    pairs: str | Sequence[Sequence[int]], student: Any, teacher: Any, extra_layer: bool
) -> list[tuple[int, int]]:
    """List (student, teacher) layers from 1, 'all' by depth; ValueError for none or twins."""
    if isinstance(pairs, str):
        if pairs != 'all':
            raise ValueError(
                f"pairs is 'all' or a list of (student, teacher) layers, not {pairs!r}"
            )
        depth = student.num_layers + int(extra_layer)
        return [(i, max(1, round(i * teacher.num_layers / depth))) for i in range(1, depth + 1)]
    found = [(int(ours), int(theirs)) for ours, theirs in pairs]
    if not found or len({ours for ours, _ in found}) != len(found):
        raise ValueError(f'pairs={found} must name each student layer once')
    return found


def check_alignment(
    student: Any,
    teacher: Any,
    pairs: Sequence[tuple[int, int]],
    hidden_pairs: Sequence[tuple[int, int]],
    tokens: str,
    extra_layer: bool = False,
) -> None:
    """Raise a ValueError that names the remedy if layers do not exist or tokens do not line up."""
    depth = student.num_layers + int(extra_layer)
    if extra_layer and depth not in [ours for ours, _ in pairs]:
        raise ValueError(
            f'extra_layer=True adds student layer {depth}, but pairs={list(pairs)} does not name it'
        )
    for what, listed, last in (
        ('pairs', pairs, depth),
        ('hidden_pairs', hidden_pairs, student.num_layers),
    ):
        for pair in listed:
            sides = ('student', pair[0], last), ('teacher', pair[1], teacher.num_layers)
            for side, layer, limit in sides:
                if not 1 <= layer <= limit:
                    raise ValueError(
                        f'{what}={list(listed)} names {side} layer {layer}; it has 1..{limit}'
                    )
    if student.mask_grid != teacher.mask_grid:
        rows, columns = student.mask_grid
        unit = teacher.patch_size * teacher.grid_size[0] // teacher.mask_grid[0]
        raise ValueError(
            f'tokens do not line up: student {student.mask_grid}, teacher {teacher.mask_grid} '
            f'patches; build the teacher with img_size=({rows * unit}, {columns * unit}) and give '
            'teacher_input=dict(size=...) the same'
        )
    prefixes = student.num_prefix_tokens, teacher.num_prefix_tokens
    if tokens == 'all' and prefixes[0] != prefixes[1]:
        raise ValueError(
            f'tokens do not line up: student {prefixes[0]}, teacher {prefixes[1]} prefix tokens; '
            "set tokens='class' or 'patches'"
        )
    if tokens == 'class' and min(prefixes) < 1:
        raise ValueError(
            f"tokens='class' needs a class token on both sides, got {prefixes[0]} (student) and "
            f"{prefixes[1]} (teacher) prefix tokens; set tokens='patches'"
        )
    _check_shapes(student, teacher, pairs, prefixes)


def _check_shapes(
    student: Any, teacher: Any, pairs: Sequence[tuple[int, int]], prefixes: tuple[int, int]
) -> None:
    for ours, theirs in pairs:
        shapes = [
            tuple(student.attention_shape(min(ours, student.num_layers))),
            tuple(teacher.attention_shape(theirs)),
        ]
        # Prefix tokens stand among queries and keys; what is dropped of them is dropped of both.
        bare = [
            (*shape[:-2], shape[-2] - prefix, shape[-1] - prefix)
            for shape, prefix in zip(shapes, prefixes, strict=True)
        ]
        if bare[0] != bare[1]:
            raise ValueError(
                f'attention does not line up in pair {(ours, theirs)}: student {shapes[0]}, '
                f'teacher {shapes[1]}; choose layers of the same resolution'
            )


def norm_after(network: Any, layer: int, extra_block: Any = None) -> nn.Module:
    """Return the LayerNorm that reads the output of a layer (1-based); a ValueError without one."""
    if layer < network.num_layers:
        return network.blocks[layer].norm1  # of the next block, as blocks count from 0
    norm = network.norm if extra_block is None else extra_block.norm1
    if isinstance(norm, nn.Identity):
        raise ValueError(
            f'hidden_pairs compare normalised outputs, and {type(network).__name__} has no norm '
            f'behind layer {layer}; build it with final_norm=True, or name an earlier layer'
        )
    return norm


def _kept(count: int, prefix: int, tokens: str, device: torch.device) -> Tensor | None:
    """Return the places of the tokens to keep, ``None`` for all."""
    if tokens == 'all' or prefix == 0 or (tokens == 'class' and prefix == 1):
        return None
    patches = torch.arange(prefix, count, device=device)
    if tokens == 'patches':
        return patches
    return torch.cat([patches.new_zeros(1), patches])


def align_logits(logits: Tensor, prefix: int, tokens: str) -> Tensor:
    """Keep the queries and keys [..., Q, K] that are compared.

    ``prefix`` tokens come first, the class token first of all; ``tokens`` is 'all', 'class' or
    'patches'.
    """
    kept = _kept(logits.shape[-1], prefix, tokens, logits.device)
    return logits if kept is None else logits.index_select(-1, kept).index_select(-2, kept)


def align_tokens(x: Tensor, prefix: int, tokens: str) -> Tensor:
    """Keep the tokens that are compared, of [B, N, C]; see :func:`align_logits`."""
    kept = _kept(x.shape[1], prefix, tokens, x.device)
    return x if kept is None else x.index_select(1, kept)
