"""Warm the temperature of a self-distilling teacher up."""

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import require
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class TeacherTemperatureHook(Hook):
    """Raise ``model.criterion.teacher_temperature`` linearly, then keep it (DINO).

    The temperature is a function of the epoch or iteration alone, so a resumed run has the right
    one. It is logged as ``teacher_temperature``.

    Args:
        start_value: Temperature at the beginning.
        end_value: Temperature from ``end`` on.
        end: Epoch or iteration from which ``end_value`` holds.
        by_epoch: Whether ``end`` counts epochs.

    Raises:
        ValueError: If a temperature is not positive, or ``end`` is not.
    """

    def __init__(
        self, start_value: float, end_value: float, end: int, by_epoch: bool = True
    ) -> None:
        if min(start_value, end_value) <= 0 or end < 1:
            raise ValueError(
                'TeacherTemperatureHook: needs positive temperatures and a positive end, got '
                f'{start_value}, {end_value}, {end}'
            )
        self.start_value, self.end_value = start_value, end_value
        self.end, self.by_epoch = end, by_epoch

    def temperature(self, position: int) -> float:
        """Return the temperature at an epoch or iteration.

        Args:
            position: Epoch or iteration, from 0.
        """
        return self.start_value + (self.end_value - self.start_value) * min(position / self.end, 1)

    def before_train(self, runner: Runner) -> None:
        """Check that there is a loss with a temperature."""
        require(runner.model, 'criterion', self)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set the temperature of this iteration and log it."""
        value = self.temperature(runner.epoch if self.by_epoch else runner.iter)
        require(runner.model, 'criterion', self).teacher_temperature = value
        runner.message_hub.update_scalar('train/teacher_temperature', value)
