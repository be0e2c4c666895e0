"""The learning rate of the papers' recipes: a linear warm-up, then half a cosine."""

import logging
import math
from typing import Any

from mmengine.logging import print_log
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from lightvit_dense.errors import UserError
from lightvit_dense.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up and cosine decay in one (He et al. 2022, appendix A; the authors' code).

    At step t of T, with w steps of warm-up, a group's rate is its own base rate times

        f + (1 - f) * t / w                                     while t < w,
        r + (1 - r) * (1 + cos(pi * (t - w) / (T - w))) / 2     from then on.

    One dict in place of a list of two schedulers: a config that trains longer changes
    ``train_cfg.max_epochs`` and nothing else, since ``end`` follows it.

    Args:
        optimizer: Optimizer or wrapper.
        warmup: Epochs (iterations if ``by_epoch`` is False) of warm-up.
        start_factor: f, the share of the base rate at step 0.
        eta_min_ratio: r, the share of the base rate that the cosine ends at.
        begin: First epoch or iteration.
        end: Last one (T); by default that of the training.
        **kwargs: As of mmengine's schedulers, such as ``by_epoch``.

    Raises:
        UserError: If the schedule has no end or no length, or a share is out of [0, 1].
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: int = 0,
        start_factor: float = 0.0,
        eta_min_ratio: float = 0.0,
        begin: int = 0,
        end: int = INF,
        **kwargs: Any,
    ) -> None:
        if end == INF:
            raise UserError('param_scheduler: WarmupCosineLR needs its end')
        if warmup < 0 or begin >= end:
            raise UserError(
                f'param_scheduler: no warm-up of {warmup} fits a schedule from {begin} to {end}'
            )
        if warmup >= end - begin:
            print_log(
                f'Training ends within the warm-up: {end - begin} of {warmup} steps. Set '
                'param_scheduler.warmup for a shorter training.',
                logger='current',
                level=logging.WARNING,
            )
        for name, value in (('start_factor', start_factor), ('eta_min_ratio', eta_min_ratio)):
            if not 0 <= value <= 1:
                raise UserError(f'param_scheduler.{name} must lie in [0, 1], got {value}')
        self.warmup, self.length = warmup, end - begin
        self.start_factor, self.eta_min_ratio = start_factor, eta_min_ratio
        super().__init__(optimizer, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Optimizer,
        warmup: int = 0,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> 'WarmupCosineLR':
        """Turn epochs into iterations (``convert_to_iter_based=True``)."""
        if not by_epoch:
            raise UserError('param_scheduler: convert_to_iter_based needs by_epoch=True')
        if not epoch_length:
            raise UserError(
                'param_scheduler: convert_to_iter_based needs epochs of at least one batch: lower '
                'train_dataloader.batch_size, or set drop_last=False'
            )
        warmup, begin, end = warmup * epoch_length, begin * epoch_length, end * epoch_length
        return cls(optimizer, warmup=warmup, begin=begin, end=end, by_epoch=False, **kwargs)

    def factor(self, step: int) -> float:
        """Return the share of the base rate at a step counted from ``begin``."""
        if step < self.warmup:
            return self.start_factor + (1 - self.start_factor) * step / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.length - self.warmup))
        return self.eta_min_ratio + (1 - self.eta_min_ratio) * (1 + math.cos(math.pi * done)) / 2

    def _get_value(self) -> list[float]:
        """Return the rate of every parameter group."""
        factor = self.factor(self.last_step)
        return [base * factor for base in self.base_values]
