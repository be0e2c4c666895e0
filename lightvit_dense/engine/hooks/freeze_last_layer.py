"""Keep one layer as it is while training begins."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Throw the gradients of a module away during the first epochs or iterations (DINO).

    They are thrown away just before the optimiser steps: distributed training still reduces them,
    clipping still counts them, and the optimiser neither moves nor decays the module.

    Args:
        until: Epoch or iteration (from 0) from which the module is trained.
        by_epoch: Whether ``until`` counts epochs.
        module: Name of the module in the model.

    Raises:
        ValueError: If ``until`` is negative.
    """

    def __init__(
        self, until: int = 1, by_epoch: bool = True, module: str = 'head.last_layer'
    ) -> None:
        if until < 0:
            raise ValueError(f'FreezeLastLayerHook: until={until} must not be negative')
        self.until, self.by_epoch, self.module = until, by_epoch, module

    def before_train(self, runner: Runner) -> None:
        """Find the module and stand before the optimiser."""
        try:
            frozen = unwrap(runner.model).get_submodule(self.module)
        except AttributeError as error:
            raise ValueError(
                f'FreezeLastLayerHook: {type(unwrap(runner.model)).__name__} has no module '
                f'{self.module!r}: remove the hook, or name another module'
            ) from error

        def drop(*_: Any) -> None:
            if (runner.epoch if self.by_epoch else runner.iter) < self.until:
                for parameter in frozen.parameters():
                    parameter.grad = None

        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(drop)

    def after_train(self, runner: Runner) -> None:
        """Step aside."""
        self.handle.remove()
