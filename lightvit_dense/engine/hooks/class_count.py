"""Refuse a classifier that has other classes than the data."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Compare the number of classes of model and data before training, validation and testing.

    Labels alone show a mistake only where the model has fewer classes. Models without
    ``num_classes`` and data sets that name no classes pass.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training data."""
        self._check(runner, runner.train_loop.dataloader)

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        self._check(runner, runner.val_loop.dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        self._check(runner, runner.test_loop.dataloader)

    def _check(self, runner: Runner, dataloader: Any) -> None:
        """Compare.

        Raises:
            UserError: If the numbers differ.
        """
        own = getattr(unwrap(runner.model), 'num_classes', None)
        dataset = dataloader.dataset
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if not isinstance(own, int) or not classes or len(classes) == own:
            return
        raise UserError(
            f'the data set ({type(dataset).__name__}, {getattr(dataset, "data_root", "")}) has '
            f'{len(classes)} classes, the model {own}. Set model.head.num_classes and '
            'model.data_preprocessor.num_classes to those of the data, or take the right data.'
        )
