"""Start the training sampler where the checkpoint left it, without replaying batches."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class ResumePositionHook(Hook):
    """Place the sampler where the iteration counter says.

    Works with samplers that have ``set_progress(epoch=, start=)``, of which ``start`` counts the
    samples that this process has consumed: in the epoch for a finite sampler, overall for an
    infinite one. The position is a function of the iteration counter alone, so an epoch may also be
    resumed in its middle. Other samplers are left to mmengine.
    """

    # After mmengine's DistSamplerSeedHook ('NORMAL'), which sets the epoch.
    priority = 'BELOW_NORMAL'

    def before_run(self, runner: Runner) -> None:
        """Remember the seed that the sampler was built with."""
        self.built_with = runner.seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Place the sampler."""
        sampler, batch_size = find_sampler(runner.train_dataloader)
        if sampler is None:
            return
        # A run without a configured seed drew one, which its checkpoint has brought back by now.
        if sampler.seed == self.built_with:
            sampler.seed = self.built_with = runner.seed
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            self._place_iteration_based(loop, sampler, batch_size)
        elif isinstance(loop, EpochBasedTrainLoop):
            per_epoch = loop.max_iters // loop.max_epochs
            batches = loop.iter - loop.epoch * per_epoch
            if not 0 <= batches < max(per_epoch, 1):
                runner.logger.warning(
                    f'Iteration {loop.iter} does not lie in epoch {loop.epoch} of {per_epoch} '
                    'iterations: was the batch size or the data set changed? The epoch starts at '
                    'its beginning.'
                )
                batches = 0
            sampler.set_progress(epoch=loop.epoch, start=batches * batch_size)

    @staticmethod
    def _place_iteration_based(loop: IterBasedTrainLoop, sampler: Any, batch_size: int) -> None:
        if is_infinite(sampler):
            sampler.set_progress(epoch=0, start=loop.iter * batch_size)
        else:
            per_epoch = len(loop.dataloader)
            epoch, batches = divmod(loop.iter, per_epoch)
            sampler.set_progress(epoch=epoch, start=batches * batch_size)
            loop.dataloader_iterator._epoch = epoch
        # The sampler stands where it should: mmengine must not skip the same batches a second time.
        loop.dataloader_iterator.skip_iter = lambda num_iters: None


def find_sampler(dataloader: Any) -> tuple[Any, int]:
    """Find the sampler that can be placed.

    Args:
        dataloader: A :class:`torch.utils.data.DataLoader`.

    Returns:
        The sampler that has ``set_progress``, and the batch size of this process; (None, 0) if
        there is none.
    """
    for holder in (dataloader, getattr(dataloader, 'batch_sampler', None)):
        sampler = getattr(holder, 'sampler', None)
        batch_size = getattr(holder, 'batch_size', None)
        if batch_size and hasattr(sampler, 'set_progress'):
            return sampler, batch_size
    return None, 0


def is_infinite(sampler: Any) -> bool:
    """Whether the sampler never ends; its class's name says so, as do mmengine's."""
    return 'Infinite' in type(sampler).__name__
