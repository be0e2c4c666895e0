"""Compare the classes of model and data, and check that the labels hold them."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS

HEADS = ('roi_head.bbox_head', 'roi_head.mask_head', 'decode_head', 'auxiliary_head')
"""Heads of detectors and segmentors that have a number of classes of their own."""


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Compare the number of classes of model and data, and look through the labels once."""

    def __init__(self) -> None:
        self._seen: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Check the training data, and those of the validations to come."""
        self._check(runner, runner.train_loop.dataloader)
        if getattr(runner, '_val_loop', None) is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        self._check(runner, runner.val_loop.dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        self._check(runner, runner.test_loop.dataloader)

    def _check(self, runner: Runner, dataloader: Any) -> None:
        dataset = dataloader.dataset
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if not classes:
            return
        counts = _class_counts(unwrap(runner.model))
        wrong = {key: own for key, own in counts if own != len(classes)}
        if wrong:
            keys = ' and '.join(wrong)
            raise UserError(
                f'the data set ({type(dataset).__name__}, {getattr(dataset, "data_root", "")}) has '
                f'{len(classes)} classes, the model {next(iter(wrong.values()))}. Set {keys} to '
                'those of the data, or take the right data.'
            )
        if not any(dataset is seen for seen in self._seen):
            self._seen.append(dataset)
            parts = [part for part in _parts(dataset) if hasattr(part, 'check_contents')]
            for part in parts:
                part.check_contents(alone=len(parts) == 1)


def _parts(dataset: Any) -> Iterator[Any]:
    """Yield a data set and those in wrappers such as mmengine's ``ConcatDataset``."""
    yield dataset
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner:
        if part is not None:
            yield from _parts(part)


def _class_counts(model: Any) -> Iterator[tuple[str, int]]:
    """Yield the config keys that set a number of classes in a model, and the numbers."""
    found = False
    for key in HEADS:
        head = model
        for part in key.split('.'):
            head = getattr(head, part, None)
        for one in head if hasattr(head, '__len__') else [head]:
            if isinstance(getattr(one, 'num_classes', None), int):
                found = True
                yield f'model.{key}.num_classes', one.num_classes
    own = getattr(model, 'num_classes', None)
    if not found and isinstance(own, int):
        yield 'model.head.num_classes', own
        yield 'model.data_preprocessor.num_classes', own
