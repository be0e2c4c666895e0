"""Pre-trainers with moving averages of their networks."""

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

    The averages are modules of the model without gradients, which :class:`MomentumUpdateHook` moves
    after every step. ``ema_targets`` maps the name of an average to that of the module it follows.
    The feature of an image is the class token.
    """

    ema_targets: dict[str, str] = {}

    def __init__(self, backbone: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone, *args, **kwargs)
        if not self.backbone.num_prefix_tokens:
            raise ValueError(f'{type(self).__name__} needs a backbone with cls_token=True')

    def ema_pairs(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Iterate over (average, module it follows)."""
        for average, module in self.ema_targets.items():
            yield getattr(self, average), getattr(self, module)

    @torch.no_grad()
    def reset_ema_targets(self) -> None:
        """Make the averages equal to what they follow, buffers included."""
        for average, module in self.ema_pairs():
            average.load_state_dict(module.state_dict())

    def init_weights(self) -> None:
        """Initialise, then make the averages equal to what came of it."""
        super().init_weights()
        self.reset_ema_targets()

    @torch.no_grad()
    def update_ema_targets(self, momentum: float) -> None:
        """Move averaged parameters: ``momentum * average + (1 - momentum) * module``."""
        averages: list[Any] = []
        modules: list[Any] = []
        for average, module in self.ema_pairs():
            averages += average.parameters()
            modules += module.parameters()
        # Interpolation leaves what is equal exactly as it is, such as fixed positions.
        torch._foreach_lerp_(averages, modules, 1 - momentum)
