"""A frozen network that a model learns from and is not made of."""

from collections.abc import Callable
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn
from typing_extensions import Self


class HiddenTeacher(BaseModule):
    """Base of what holds a teacher outside the module tree.

    The teacher moves with the model, and is neither optimised, saved nor reduced across ranks. It
    never leaves evaluation.

    Args:
        teacher: The network, which is frozen.
        init_cfg: mmengine initialisation config.
    """

    def __init__(self, teacher: nn.Module, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        # A tuple hides it from parameters(), state_dict() and DistributedDataParallel.
        self._hidden = (teacher.requires_grad_(False).eval(),)

    @property
    def teacher(self) -> Any:
        """The frozen teacher."""
        return self._hidden[0]

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, which mmengine cannot reach by itself."""
        super().init_weights()
        self.teacher.init_weights()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the teacher wherever the model moves."""
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)
