"""Change the weight of the distillation loss over training."""

import math

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import require
from lightvit_dense.registry import HOOKS

SHAPES = ('linear', 'cosine')


@HOOKS.register_module()
class DistillWeightScheduleHook(Hook):
    """Move ``model.distiller.loss_weight`` from one value to another.

    The weight is a function of the epoch or iteration alone, so a resumed run has the right one.
    It is logged as ``distill_weight``.

    Args:
        begin: Epoch or iteration (from 0) up to which ``start_value`` holds.
        end: Epoch or iteration from which ``end_value`` holds.
        start_value: Weight at the beginning.
        end_value: Weight at the end.
        by_epoch: Whether ``begin`` and ``end`` count epochs.
        shape: 'linear' or 'cosine' (half a wave).
    """

    priority = 'NORMAL'

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

    def weight(self, position: int) -> float:
        """Return the weight at an epoch or iteration.

        Args:
            position: Epoch or iteration, from 0.
        """
        fraction = min(max((position - self.begin) / (self.end - self.begin), 0.0), 1.0)
        if self.shape == 'cosine':
            fraction = (1 - math.cos(math.pi * fraction)) / 2
        return self.start_value + (self.end_value - self.start_value) * fraction

    def before_train(self, runner: Runner) -> None:
        """Check that there is a distiller."""
        require(runner.model, 'distiller', self)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set the weight of this iteration and log it."""
        value = self.weight(runner.epoch if self.by_epoch else runner.iter)
        require(runner.model, 'distiller', self).loss_weight = value
        runner.message_hub.update_scalar('train/distill_weight', value)
