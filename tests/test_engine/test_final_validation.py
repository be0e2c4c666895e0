import logging
from types import SimpleNamespace

import pytest

from lightvit_dense.engine.hooks import FinalValidationHook


def make_runner(done, length, by_epoch, validates=True):
    ran = []
    loop = SimpleNamespace(run=lambda: ran.append(True)) if validates else None
    return SimpleNamespace(
        iter=done * 10 if by_epoch else done,
        epoch=done if by_epoch else 0,
        max_iters=length * 10 if by_epoch else length,
        max_epochs=length if by_epoch else 1,
        logger=logging.getLogger('test'),
        _val_loop=loop,
        val_loop=loop,
        ran=ran,
    )


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize(('done', 'expected'), [(0, []), (2, []), (3, [True])])
def test_only_a_training_with_nothing_left_is_validated(by_epoch, done, expected):
    runner, hook = make_runner(done, 3, by_epoch), FinalValidationHook()
    hook.before_train(runner)
    hook.after_train(runner)
    assert runner.ran == expected


def test_without_validation_nothing_happens():
    runner, hook = make_runner(3, 3, False, validates=False), FinalValidationHook()
    hook.before_train(runner)
    hook.after_train(runner)
    assert runner.ran == []
