"""Randomness as a pure function of (seed, iteration, rank)."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.registry import HOOKS


def iteration_seed(seed: int, iteration: int, rank: int) -> int:
    """Return a 64-bit seed mixed from (seed, iteration, rank)."""
    state = np.random.SeedSequence([seed, iteration, rank]).generate_state(2, np.uint32)
    return int(state[0]) << 32 | int(state[1])


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed python, numpy and torch before every training iteration.

    Masks, drop path and dropout then depend on the iteration alone, not on what ran before it, so a
    resumed run draws the same numbers as one that never stopped. The hook keeps no state.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Seed the generators."""
        seed = iteration_seed(runner.seed, runner.iter, get_rank())
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
