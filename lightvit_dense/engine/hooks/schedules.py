"""What changes over a pre-training, each a function of the epoch or iteration alone."""

import math
from typing import Any, ClassVar

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import require, unwrap
from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS

SHAPES = ('linear', 'cosine')


class _Ramp(Hook):
    """Set and log a number of a part of the model, linear between ``begin`` and ``end``."""

    part: ClassVar[str]
    attribute: ClassVar[str]
    log_name: ClassVar[str]
    start_value: float
    end_value: float
    begin: int
    end: int
    by_epoch: bool

    def value(self, position: int) -> float:
        """Return the number at an epoch or iteration, counted from 0."""
        done = min(max((position - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.start_value + (self.end_value - self.start_value) * self.shaped(done)

    def shaped(self, done: float) -> float:
        """Return the share of the way for the share of the time, both in [0, 1]."""
        return done

    def before_train(self, runner: Runner) -> None:
        """Check that the model has this part."""
        require(runner.model, self.part, self)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set the number of this iteration and log it."""
        value = self.value(runner.epoch if self.by_epoch else runner.iter)
        setattr(require(runner.model, self.part, self), self.attribute, value)
        runner.message_hub.update_scalar(f'train/{self.log_name}', value)


@HOOKS.register_module()
class DistillWeightScheduleHook(_Ramp):
    """Move ``model.distiller.loss_weight`` from one value to another; logs ``distill_weight``.

    Args:
        begin: Epoch or iteration (from 0) up to which ``start_value`` holds.
        end: The one from which ``end_value`` holds.
        start_value: The first weight.
        end_value: The last weight.
        by_epoch: Whether ``begin`` and ``end`` count epochs.
        shape: 'linear' or 'cosine' (half a wave).
    """

    part, attribute, log_name = 'distiller', 'loss_weight', 'distill_weight'

    def __init__(
        self,
        begin: int,
        end: int,
        start_value: float,
        end_value: float,
        by_epoch: bool = False,
        shape: str = 'linear',
    ) -> None:
        if not 0 <= begin < end:
            raise ValueError(
                f'DistillWeightScheduleHook: need 0 <= begin < end, not {begin}, {end}'
            )
        if start_value < 0 or end_value < 0:
            raise ValueError('DistillWeightScheduleHook: a loss weight cannot be negative')
        if shape not in SHAPES:
            raise ValueError(f'DistillWeightScheduleHook: shape={shape!r} is none of {SHAPES}')
        self.begin, self.end = begin, end
        self.start_value, self.end_value = start_value, end_value
        self.by_epoch, self.shape = by_epoch, shape

    def shaped(self, done: float) -> float:
        """Return the share of the way."""
        return (1 - math.cos(math.pi * done)) / 2 if self.shape == 'cosine' else done


@HOOKS.register_module()
class TeacherTemperatureHook(_Ramp):
    """Raise ``model.criterion.teacher_temperature`` linearly, then keep it (DINO).

    It is logged as ``teacher_temperature``.

    Args:
        start_value: The first temperature.
        end_value: The last temperature.
        end: Epoch or iteration from which ``end_value`` holds.
        by_epoch: Whether ``end`` counts epochs.
    """

    part, attribute, log_name = 'criterion', 'teacher_temperature', 'teacher_temperature'

    def __init__(
        self, start_value: float, end_value: float, end: int, by_epoch: bool = True
    ) -> None:
        if min(start_value, end_value) <= 0 or end < 1:
            raise ValueError(
                'TeacherTemperatureHook: needs positive temperatures and a positive end, got '
                f'{start_value}, {end_value}, {end}'
            )
        self.start_value, self.end_value = start_value, end_value
        self.begin, self.end, self.by_epoch = 0, end, by_epoch


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Call ``model.update_ema_targets(momentum)`` after every step of the optimiser.

    The momentum goes from ``base`` to ``end`` in half a cosine wave over the whole training (BYOL,
    MoCo-v3, DINO). It is logged as ``target_momentum``. While gradients are accumulated nothing
    moves.
    """

    # Before checkpoints are written ('VERY_LOW'), so that they hold the copies of their step.
    priority = 'NORMAL'

    def __init__(self, base: float = 0.996, end: float = 1.0) -> None:
        if not 0 <= base <= end <= 1:
            raise ValueError(f'MomentumUpdateHook: need 0 <= base <= end <= 1, not {base}, {end}')
        self.base, self.end = base, end

    def momentum(self, iteration: int, total: int) -> float:
        """Return the momentum of an iteration, counted from 0, of ``total`` ones."""
        wave = (1 + math.cos(math.pi * iteration / total)) / 2
        return self.end - (self.end - self.base) * wave

    def before_train(self, runner: Runner) -> None:
        """Check that there are copies."""
        require(runner.model, 'update_ema_targets', self)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Move the copies if this iteration has moved the model."""
        if not runner.optim_wrapper.should_update():
            return
        momentum = self.momentum(runner.iter, runner.max_iters)
        require(runner.model, 'update_ema_targets', self)(momentum)
        runner.message_hub.update_scalar('train/target_momentum', momentum)


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Throw the gradients of a module away during the first epochs or iterations (DINO).

    They are thrown away just before the optimiser steps: distributed training still reduces them,
    clipping still counts them, and the optimiser neither moves nor decays the module.

    Args:
        until: Epoch or iteration (from 0) from which the module is trained.
        by_epoch: Whether ``until`` counts epochs.
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
            raise UserError(
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
