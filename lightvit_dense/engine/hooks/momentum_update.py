"""Let the copies of a momentum pre-trainer follow."""

import math

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import require
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Call ``model.update_ema_targets(momentum)`` after every step of the optimiser.

    The momentum goes from ``base`` to ``end`` in half a cosine wave over the whole training (BYOL,
    MoCo-v3, DINO). It is a function of the iteration alone, so a resumed run has the right one. It
    is logged as ``target_momentum``. While gradients are accumulated nothing moves.

    Args:
        base: Momentum at the beginning.
        end: Momentum at the end.

    Raises:
        ValueError: Unless 0 <= base <= end <= 1.
    """

    # Before checkpoints are written ('VERY_LOW'), so that they hold the copies of their step.
    priority = 'NORMAL'

    def __init__(self, base: float = 0.996, end: float = 1.0) -> None:
        if not 0 <= base <= end <= 1:
            raise ValueError(f'MomentumUpdateHook: need 0 <= base <= end <= 1, not {base}, {end}')
        self.base, self.end = base, end

    def momentum(self, iteration: int, total: int) -> float:
        """Return the momentum of an iteration.

        Args:
            iteration: From 0.
            total: Iterations of the whole training.
        """
        wave = (1 + math.cos(math.pi * iteration / total)) / 2
        return self.end - (self.end - self.base) * wave

    def before_train(self, runner: Runner) -> None:
        """Check that there are copies."""
        require(runner.model, 'update_ema_targets', self)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Move the copies if this iteration has moved the model."""
        if not runner.optim_wrapper.should_update():
            return
        momentum = self.momentum(runner.iter, runner.max_iters)
        require(runner.model, 'update_ema_targets', self)(momentum)
        runner.message_hub.update_scalar('train/target_momentum', momentum)
