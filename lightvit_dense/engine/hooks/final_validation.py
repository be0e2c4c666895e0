"""Validate what was trained to the end and killed before its validation."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class FinalValidationHook(Hook):
    """Validate when a resumed training has nothing left to do.

    The last checkpoint is written before the last validation. A run that is killed between the two
    would, when resumed, end at once and never tell its result.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Notice whether there is anything left."""
        by_epoch = runner.epoch >= runner.max_epochs if runner.max_epochs else False
        self.finished = by_epoch or runner.iter >= runner.max_iters

    def after_train(self, runner: Runner) -> None:
        """Validate, where the config does at all."""
        if self.finished and runner._val_loop is not None:
            runner.logger.info('The training was complete when it was resumed: validating it.')
            runner.val_loop.run()
