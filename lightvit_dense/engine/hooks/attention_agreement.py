"""Measure how alike teacher and student attend while the student learns."""

from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import (
    check_interval,
    evaluating,
    require,
    separate_randomness,
    unwrap,
)
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class AttentionAgreementHook(Hook):
    """Log the attention agreement of every layer as ``agreement/layer_<i>``.

    Measured on the current batch of rank 0, with the numbers of ``model.attention_agreement``. The
    random numbers of training are not disturbed.

    Args:
        interval: Iterations between two measurements; the first iteration is measured as well.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 100) -> None:
        self.interval = check_interval(interval, self)

    def before_train(self, runner: Runner) -> None:
        """Check that there is something to measure."""
        require(runner.model, 'attention_agreement', self)
        require(runner.model, 'distiller', self)

    @master_only
    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Measure when it is time."""
        if runner.iter and not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrap(runner.model)
        with separate_randomness(runner.iter), evaluating(model):
            inputs = model.data_preprocessor(data_batch, False)['inputs']
            agreement = model.attention_agreement(inputs)
        for layer, value in agreement.items():
            runner.message_hub.update_scalar(f'train/agreement/{layer}', value)
