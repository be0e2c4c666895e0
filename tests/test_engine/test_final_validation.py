import logging
from types import SimpleNamespace

import pytest

from lightvit_dense.engine.hooks import FinalValidationHook


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('validates', [True, False])
@pytest.mark.parametrize('done', [0, 2, 3])
def test_only_a_training_with_nothing_left_is_validated_if_at_all(by_epoch, validates, done):
    ran, hook = [], FinalValidationHook()
    loop = SimpleNamespace(run=lambda: ran.append(True)) if validates else None
    places = dict(iter=done * 10, epoch=done, max_iters=30, max_epochs=3)
    if not by_epoch:
        places = dict(iter=done, epoch=0, max_iters=3, max_epochs=1)
    logger = logging.getLogger('test')
    runner = SimpleNamespace(**places, logger=logger, _val_loop=loop, val_loop=loop)
    hook.before_train(runner)
    hook.after_train(runner)
    assert ran == [True] * (validates and done == 3)
