"""Initialisers of networks that keep foreign names: timm's own, and teachers with their heads."""

import sys
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from lightvit_dense.errors import CheckpointError
from lightvit_dense.registry import WEIGHT_INITIALIZERS

from .containers import open_checkpoint
from .initializer import unfilled
from .loader import check_finite

# What files of a network without its head may have besides.
HEADS = ('head.', 'fc_norm.', 'head_dist.', 'decoder', 'mask_token')
# Before the names of the network to take: MoCo keeps two in a file.
PREFIXES = ('module.encoder_q.', 'encoder_q.', 'module.', '')


@WEIGHT_INITIALIZERS.register_module()
class TimmWeights:
    """Load a file into a network of timm, the way timm itself would, but safely.

    Args:
        checkpoint: Path of the file, with timm's or its authors' names.
        name: How messages call the network.
        with_head: Whether the network has its classifier, which the file then must have too.
    """

    def __init__(self, checkpoint: str, name: str, with_head: bool = False) -> None:
        self.checkpoint, self.name, self.with_head = checkpoint, name, with_head

    def __call__(self, module: nn.Module) -> None:
        """Load; a file that does not fit raises."""
        state: Any = open_checkpoint(self.checkpoint).state
        convert = getattr(sys.modules[type(module).__module__], 'checkpoint_filter_fn', None)
        classes = f' with {module.num_classes} classes' if self.with_head else ''
        what = f'{self.checkpoint}: does not fit {self.name}{classes}'
        try:
            state = convert(state, module) if convert else state
            check_finite(self.checkpoint, state, module)
            missing, unexpected = module.load_state_dict(state, strict=self.with_head)
        except (RuntimeError, KeyError, AssertionError) as error:
            raise CheckpointError(f'{what}: {_shortened(error)}') from error
        foreign = [key for key in unexpected if not key.startswith(HEADS)]
        if missing or foreign:
            raise CheckpointError(
                f'{what}. Missing: {missing[:5] or "none"}; unexpected: {foreign[:5] or "none"}. '
                'Name the model that the file was made for'
            )
        print_log(f'Loaded {self.checkpoint} into {self.name}: {len(state)} tensors', 'current')


def _shortened(error: Exception) -> str:
    """Return the first mismatches of torch's list, which has a line for every tensor."""
    lines = [line.strip() for line in str(error).splitlines()]
    return ' '.join(lines[:3]) + (f' ({len(lines) - 3} more)' if len(lines) > 3 else '')


@WEIGHT_INITIALIZERS.register_module()
class EmbeddingWeights:
    """Load a file of MoCo-v2's or SwAV's code into an :class:`~lightvit_dense.EmbeddingTeacher`.

    Args:
        checkpoint: Path of the file.
        parts: What of the teacher has names with which start in the file, ``{'': 'backbone'}``.
    """

    def __init__(self, checkpoint: str, parts: Mapping[str, str]) -> None:
        self.checkpoint, self.parts = checkpoint, parts

    def __call__(self, module: nn.Module) -> None:
        """Load; a file that does not fit, head included, raises."""
        found = open_checkpoint(self.checkpoint).state
        prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in found))
        state = {n[len(prefix) :]: t for n, t in found.items() if n.startswith(prefix)}
        try:
            for start, name in self.parts.items():
                part = module.get_submodule(name)
                values = {n: state[start + n] for n in part.state_dict() if start + n in state}
                check_finite(self.checkpoint, values, part)
                part.load_state_dict(values, strict=False)
                if lacking := unfilled(part, values):
                    raise RuntimeError(f'it lacks {", ".join(start + n for n in lacking[:5])}')
        except RuntimeError as error:
            raise CheckpointError(
                f'{self.checkpoint}: does not fit the teacher: {_shortened(error)}. Name the '
                "network and the head ('mocov2' or 'swav') that the file was made for"
            ) from error
        print_log(f'Loaded {self.checkpoint} into the teacher', 'current')
