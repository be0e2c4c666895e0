"""Start the training sampler where the checkpoint left it, without replaying batches."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from lightvit_dense.engine.placement import (
    can_be_placed,
    find_sampler,
    is_infinite,
    is_seeded,
    place,
)
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class ResumePositionHook(Hook):
    """Place the sampler where the iteration counter says.

    The position is a function of the iteration counter alone, so an epoch may also be resumed in
    its middle. The order is resumed for our samplers, for mmengine's and for all that know their
    order from the number of the epoch; others are left to mmengine. Only our samplers let the
    augmentation resume, too: the log says so where another one is used.
    """

    # After mmengine's DistSamplerSeedHook ('NORMAL'), which sets the epoch.
    priority = 'BELOW_NORMAL'

    def before_run(self, runner: Runner) -> None:
        """Remember the seed that the sampler was built with."""
        self.built_with = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Say what a sampler cannot resume."""
        sampler = find_sampler(runner.train_dataloader)
        if is_seeded(sampler):
            return
        ours = 'SeededInfiniteSampler' if is_infinite(sampler) else 'SeededSampler'
        say = runner.logger.warning if runner.train_loop.iter else runner.logger.info
        say(
            f'{type(sampler).__name__} gives plain indices: a resumed run draws the augmentation '
            'of its images anew and does not equal one that never stopped. It does with '
            f"train_dataloader.sampler=dict(type='lightvit_dense.{ours}')."
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Place the sampler."""
        loader, loop = runner.train_dataloader, runner.train_loop
        sampler = find_sampler(loader)
        if not can_be_placed(sampler):
            return
        # A run without a configured seed drew one, which its checkpoint has brought back by now.
        if getattr(sampler, 'seed', None) == self.built_with:
            sampler.seed = self.built_with = runner.seed
        if isinstance(loop, IterBasedTrainLoop):
            epoch, batches = 0, loop.iter
            if not is_infinite(sampler):
                epoch, batches = divmod(loop.iter, len(loader))
            loop.dataloader_iterator._epoch = epoch
            # mmengine must not skip the same batches a second time.
            loop.dataloader_iterator.skip_iter = lambda num_iters: None
        elif isinstance(loop, EpochBasedTrainLoop):
            epoch, batches = loop.epoch, self._batches_of_epoch(runner)
        else:
            return
        place(loader, epoch, batches)

    @staticmethod
    def _batches_of_epoch(runner: Runner) -> int:
        """Return how many batches of the current epoch are consumed."""
        loop = runner.train_loop
        per_epoch = loop.max_iters // loop.max_epochs
        batches = loop.iter - loop.epoch * per_epoch
        if 0 <= batches < max(per_epoch, 1):
            return batches
        runner.logger.warning(
            f'Iteration {loop.iter} does not lie in epoch {loop.epoch} of {per_epoch} '
            'iterations: was the batch size or the data set changed? The epoch starts at its '
            'beginning.'
        )
        return 0
