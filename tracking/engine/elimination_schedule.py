"""Let candidates be eliminated only once the tracker knows what it looks for."""

import math

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import require

from ..registry import HOOKS


@HOOKS.register_module()
class EliminationScheduleHook(Hook):
    """Lower the part of search tokens that each eliminating block keeps in training.

    All are kept before ``begin``; from there to ``end`` the ratio falls along half a cosine to the
    backbone's ``elimination['keep']``, which evaluation always takes. Epochs count from 1, as in
    OSTrack's code, iterations from 0. A resumed run has the right ratio; it is logged as
    ``keep_ratio``.

    Args:
        begin: Epoch or iteration up to which all tokens are kept.
        end: Epoch or iteration from which the final ratio holds.
        by_epoch: Whether ``begin`` and ``end`` count epochs.
    """

    priority = 'NORMAL'

    def __init__(self, begin: int = 20, end: int = 100, by_epoch: bool = True) -> None:
        if not 0 <= begin < end:
            raise ValueError(f'EliminationScheduleHook: need 0 <= begin < end, not {begin}, {end}')
        self.begin, self.end, self.by_epoch = begin, end, by_epoch

    def before_train(self, runner: Runner) -> None:
        """Check that the model's backbone eliminates candidates."""
        backbone = require(runner.model, 'backbone', self)
        if not getattr(backbone, 'elimination_blocks', ()):
            raise ValueError(
                f'EliminationScheduleHook: {type(backbone).__name__} eliminates nothing; set '
                'model.backbone.elimination=dict() or leave out the hook'
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set the ratio of this iteration and log it."""
        backbone = require(runner.model, 'backbone', self)
        position = runner.epoch + 1 if self.by_epoch else runner.iter
        progress = (position - self.begin) / (self.end - self.begin)
        progress, final = min(max(progress, 0.0), 1.0), backbone.final_keep_ratio
        backbone.keep_ratio = final + (1 - final) * (math.cos(math.pi * progress) + 1) / 2
        runner.message_hub.update_scalar('train/keep_ratio', backbone.keep_ratio)
