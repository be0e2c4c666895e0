"""What makes a resumed training equal one that never stopped."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from lightvit_dense.engine import sampler_state
from lightvit_dense.registry import HOOKS


def iteration_seed(seed: int, iteration: int, rank: int) -> int:
    """Return a 64-bit seed mixed from (seed, iteration, rank)."""
    state = np.random.SeedSequence([seed, iteration, rank]).generate_state(2, np.uint32)
    return int(state[0]) << 32 | int(state[1])


def _seed_torch(seed: int) -> None:
    """Seed the CPU and this process's GPU; ``torch.manual_seed`` looks for devices of all kinds."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed python, numpy and torch before every iteration, so that resuming draws the same."""

    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Seed the generators."""
        seed = iteration_seed(runner.seed, runner.iter, get_rank())
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        _seed_torch(seed & 0x7FFFFFFFFFFFFFFF)


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
        sampler = sampler_state.find_sampler(runner.train_dataloader)
        if sampler_state.is_seeded(sampler):
            return
        ours = 'SeededInfiniteSampler' if sampler_state.is_infinite(sampler) else 'SeededSampler'
        say = runner.logger.warning if runner.train_loop.iter else runner.logger.info
        say(
            f'{type(sampler).__name__} gives plain indices: a resumed run draws the augmentation '
            'of its images anew and does not equal one that never stopped. It does with '
            f"train_dataloader.sampler=dict(type='lightvit_dense.{ours}')."
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Place the sampler."""
        loader, loop = runner.train_dataloader, runner.train_loop
        sampler = sampler_state.find_sampler(loader)
        if not sampler_state.can_be_resumed(sampler):
            return
        # A run without a configured seed drew one, which its checkpoint has brought back by now.
        if getattr(sampler, 'seed', None) == self.built_with:
            sampler.seed = self.built_with = runner.seed
        if isinstance(loop, IterBasedTrainLoop):
            epoch, batches = 0, loop.iter
            if not sampler_state.is_infinite(sampler):
                epoch, batches = divmod(loop.iter, len(loader))
            loop.dataloader_iterator._epoch = epoch
            # mmengine must not skip the same batches a second time.
            loop.dataloader_iterator.skip_iter = lambda num_iters: None
        elif isinstance(loop, EpochBasedTrainLoop):
            epoch, batches = loop.epoch, self._batches_of_epoch(runner)
        else:
            return
        sampler_state.set_position(loader, epoch, batches)

    @staticmethod
    def _batches_of_epoch(runner: Runner) -> int:
        """Return how many batches of the current epoch are consumed."""
        loop = runner.train_loop
        per_epoch = loop.max_iters // loop.max_epochs
        batches = loop.iter - loop.epoch * per_epoch
        # All of them where the checkpoint was written at the last, before the epoch ended.
        return batches if 0 <= batches <= per_epoch else 0


@HOOKS.register_module()
class FinalValidationHook(Hook):
    """Validate a resumed training that has nothing left to do: it may have been killed before."""

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Notice whether there is anything left."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        done, end = (
            (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
        )
        self.finished = done >= end
        if self.finished:
            runner.logger.info(
                f'The training was complete when it was resumed, {done} of {end} '
                f'{"epochs" if by_epoch else "iterations"}: nothing is trained.'
            )

    def after_train(self, runner: Runner) -> None:
        """Validate, where the config does at all."""
        if self.finished and runner._val_loop is not None:
            runner.val_loop.run()
