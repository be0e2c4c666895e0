"""Several augmentations of a sample in one epoch (Hoffer et al. 2020), as DeiT trains."""

import math
from collections.abc import Iterator, Sized

from lightvit_dense.registry import DATA_SAMPLERS

from .determinism import SeededIndex, SeededSampler, epoch_order, mix_seed


@DATA_SAMPLERS.register_module()
class RepeatedAugmentSampler(SeededSampler):
    """Each sample ``repeats`` times in a row, differently augmented, spread over the processes.

    An epoch keeps its length: it ends after as many samples as there are, so that it shows only
    1 / ``repeats`` of the data set. Order and augmentation depend on (seed, epoch) alone.

    Args:
        dataset: The dataset.
        shuffle: Whether to shuffle.
        seed: Seed; None agrees on a random one among the processes.
        repeats: How often each sample comes.
        round_to: Samples of an epoch are rounded down to a multiple of this, as in DeiT; data sets
            that are smaller are taken whole.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        repeats: int = 3,
        round_to: int = 256,
    ) -> None:
        if repeats < 1 or round_to < 1:
            raise ValueError(
                f'repeats and round_to must be positive, got repeats={repeats}, round_to={round_to}'
            )
        super().__init__(dataset, shuffle, seed)
        self.repeats = repeats
        whole = self.size // round_to * round_to or self.size
        self.num_samples = math.ceil(whole / self.world_size)

    def __iter__(self) -> Iterator[SeededIndex]:
        """Iterate over this process's share of the epoch, from the start that was set."""
        epoch, start, self.start = self.epoch, self.start, 0
        order = epoch_order(self.seed, epoch, self.size, self.shuffle)
        for number in range(start, self.num_samples):
            place, copy = divmod(number * self.world_size + self.rank, self.repeats)
            index = int(order[place % self.size])
            yield SeededIndex(index, mix_seed(self.seed, epoch, index, copy))
