"""Pre-trainers with slowly following copies of their networks."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from mmengine.model import BaseModule
from torch import nn

from .base import Pretrainer

Module = TypeVar('Module', bound=nn.Module)


def frozen_copy(module: Module) -> Module:
    """Return a copy that is never trained and never loads a checkpoint by itself."""
    twin = copy.deepcopy(module).requires_grad_(False)
    for part in twin.modules():
        if isinstance(part, BaseModule):
            part.init_cfg = None
    return twin


class MomentumPretrainer(Pretrainer):
    """Base of pre-trainers whose targets come from an average of the model over time.

    The copies are ordinary modules of the model: saved in checkpoints, on the same device, without
    gradients. :class:`MomentumUpdateHook` moves them after every step of the optimiser.

    ``followers`` maps the name of a copy to that of the module it follows; a subclass sets it and
    calls :meth:`reset_followers` at the end of its constructor.
    """

    followers: dict[str, str] = {}

    def pairs(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Iterate over (copy, module it follows)."""
        for follower, leader in self.followers.items():
            yield getattr(self, follower), getattr(self, leader)

    @torch.no_grad()
    def reset_followers(self) -> None:
        """Make the copies equal, buffers included."""
        for follower, leader in self.pairs():
            follower.load_state_dict(leader.state_dict())

    def init_weights(self) -> None:
        """Initialise, then make the copies equal to what came of it."""
        super().init_weights()
        self.reset_followers()

    @torch.no_grad()
    def update_followers(self, momentum: float) -> None:
        """Move the copies: ``copy = momentum * copy + (1 - momentum) * module``.

        Only parameters follow; statistics of batch normalisation are each network's own.

        Args:
            momentum: In [0, 1]; 1 keeps the copies as they are.
        """
        copies: list[Any] = []
        modules: list[Any] = []
        for follower, leader in self.pairs():
            copies += follower.parameters()
            modules += leader.parameters()
        # Interpolation leaves what is equal exactly as it is, such as fixed positions.
        torch._foreach_lerp_(copies, modules, 1 - momentum)
