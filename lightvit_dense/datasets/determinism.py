"""Augmentation as a pure function of (seed, epoch, sample).

The samplers hand out :class:`SeededIndex`, an integer that carries a seed of its own; datasets
with :class:`SeededItems` run their pipeline under it. So neither the number of workers, nor a
restart, nor the number of processes changes what is drawn for a sample.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler, get_worker_info

from lightvit_dense.registry import DATA_SAMPLERS

from .draws import Draws
from .text import read_lines

_MASK = (1 << 64) - 1


def mix_seed(*parts: int) -> int:
    """Mix integers into one well-spread seed in [0, 2**63) (SplitMix64's finaliser, chained)."""
    state = 0
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class SeededIndex(int):
    """An index that carries the seed of its augmentation, also through wrappers and pickling."""

    seed: int

    def __new__(cls, value: int, seed: int) -> 'SeededIndex':
        """Make the index."""
        self = super().__new__(cls, value)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self), self.seed)

    def __add__(self, other: int) -> 'SeededIndex':
        return type(self)(int(self) + other, self.seed)

    def __sub__(self, other: int) -> 'SeededIndex':
        return type(self)(int(self) - other, self.seed)

    def __mod__(self, other: int) -> 'SeededIndex':
        return type(self)(int(self) % other, self.seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed (0..2**63-1) python, numpy and torch's CPU for a block; then restore their states."""
    generator = torch.random.default_generator
    alone = get_worker_info() is None
    if alone:
        states = random.getstate(), np.random.get_state(), generator.get_state()
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    generator.manual_seed(seed)
    try:
        yield
    finally:
        if alone:
            random.setstate(states[0])
            np.random.set_state(states[1])
            generator.set_state(states[2])


class SeededItems:
    """Mixin, placed before an mmengine ``BaseDataset``: items drawn under their index's seed.

    The replacement that mmengine fetches when the pipeline gives None is drawn under it too.
    Plain indices are passed through and draw from the ambient generators.

    ``metainfo=dict(classes=...)`` may be a text file with a name a line.
    """

    _repeats: Mapping[int, dict] = {}
    _draws: Draws | None = None  # of the item that is made

    @classmethod
    def _load_metainfo(cls, metainfo: Any = None) -> dict:
        """Read the names of the classes, where they are a file; mmengine keeps blanks and marks."""
        if isinstance(metainfo, Mapping) and isinstance(metainfo.get('classes'), str):
            metainfo = {**metainfo, 'classes': [*read_lines(metainfo['classes'], 'class list')]}
        return super()._load_metainfo(metainfo)  # type: ignore[misc]

    def __getitem__(self, idx: int, draws: Draws | None = None) -> Any:
        if draws is None and isinstance(idx, SeededIndex):
            draws = Draws([idx.seed])
        self._draws = draws
        load = (getattr(self.pipeline, 'transforms', None) or [None])[0]  # type: ignore[attr-defined]
        with nullcontext() if not draws or hasattr(load, 'seedless') else seeded(draws.seed):
            return super().__getitem__(int(idx))  # type: ignore[misc]

    def _rand_another(self) -> int:
        """Return the item to take in place of one that is bad."""
        if self._draws is None:
            return super()._rand_another()  # type: ignore[misc]
        self._draws = Draws([mix_seed(self._draws.seed)])
        return self._draws.seed % len(self)  # type: ignore[arg-type]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the items of a batch; those of one image share what is read, under 'repeats'."""
        items, left = [], Counter(indices)
        repeats = self._repeats = {index: {} for index, times in left.items() if times > 1}
        seeds: Any = [getattr(index, 'seed', 0) for index in indices]
        kept: dict = {}
        for row, index in enumerate(indices):
            draws = Draws(seeds, row, kept) if isinstance(index, SeededIndex) else None
            items.append(self.__getitem__(index, draws))
            left[index] -= 1
            if not left[index]:
                repeats.pop(index, None)
        return items

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on an item."""
        info = self.get_data_info(idx)  # type: ignore[attr-defined]
        if idx in self._repeats:
            info['repeats'] = self._repeats[idx]
        if self._draws is not None:
            info['draws'] = self._draws
        if self.test_mode:  # type: ignore[attr-defined]
            info['must_load'] = True  # bad images may not be passed over
        made = self.pipeline(info)  # type: ignore[attr-defined]
        info.pop('draws', None)  # no collate function takes them
        return made


def epoch_order(seed: int, epoch: int, size: int, shuffle: bool) -> np.ndarray:
    """Return the order of an epoch: Indices [size]."""
    if not shuffle:
        return np.arange(size)
    generator = torch.Generator()
    generator.manual_seed(mix_seed(seed, epoch))
    return torch.randperm(size, generator=generator).numpy()


class _Seeded(Sampler):
    """What both samplers share."""

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.size = len(dataset)
        if not self.size:
            raise ValueError('the dataset is empty; a sampler needs at least one sample')
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def _at(self, order: np.ndarray, offset: int, epoch: int) -> SeededIndex:
        index = int(order[offset])
        return SeededIndex(index, mix_seed(self.seed, epoch, index))


@DATA_SAMPLERS.register_module()
class SeededSampler(_Seeded):
    """Epoch-based sampler: order and augmentation depend on (seed, epoch) alone.

    Args:
        seed: None agrees on a random one among the processes.
        round_up: Whether to repeat samples so that all processes get equally many.
        crops: Consecutive samples of each image, differently augmented (Hoffer et al. 2020); it
            is decoded once for those in a batch. Batches and epochs count samples, so schedules
            and learning rates stay: an epoch keeps its length and shows 1 / ``crops`` of the
            images, ``crops`` epochs all of them. A process's batch should be a multiple of it.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        crops: int = 1,
    ) -> None:
        if crops < 1 or (crops > 1 and not round_up):
            raise ValueError(f'crops={crops}: must be positive, and more than 1 needs round_up')
        super().__init__(dataset, shuffle, seed)
        self.epoch = 0
        self.round_up, self.crops = round_up, crops
        share = self.size if round_up else self.size - self.rank
        # Rounded up, so that no process gets a part of an image's crops.
        self.images = -(-share // (self.world_size * crops))
        self.num_samples = self.images * crops
        if crops > 1:
            images = self.images * self.world_size
            counted = f'an epoch is {images * crops} crops of {images} images'
            text = f'{counted}; all {self.size} images are seen in {crops} epochs'
            print_log(f'crops={crops}: {text}', 'current')

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch, start, self.start = self.epoch, self.start, 0
        order = epoch_order(self.seed, epoch // self.crops, self.size, self.shuffle)
        for number in range(start, self.num_samples):
            yield self._sample(order, number, epoch)

    def _sample(self, order: np.ndarray, number: int, epoch: int) -> SeededIndex:
        """Return the sample of a number within the epoch of this process."""
        number, crop = divmod(number, self.crops)
        place = (epoch % self.crops * self.images + number) * self.world_size + self.rank
        index = self._at(order, place % self.size, epoch)
        return SeededIndex(index, mix_seed(index.seed, crop)) if crop else index

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; a start that was set for another epoch is forgotten."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch

    def set_progress(self, epoch: int = 0, start: int = 0) -> None:
        """Continue in an epoch of which this process has consumed ``start`` samples."""
        if not 0 <= start <= self.num_samples:
            raise ValueError(f'start={start} lies outside an epoch of {self.num_samples} samples')
        self.epoch, self.start = epoch, start


@DATA_SAMPLERS.register_module()
class RepeatedAugmentSampler(SeededSampler):
    """Each sample ``repeats`` times in a row, differently augmented, spread over the processes.

    Several augmentations of a sample in one epoch are due to Hoffer et al. (2020), as DeiT trains.
    An epoch keeps its length: it ends after as many samples as there are, so that it shows only
    1 / ``repeats`` of the data set.

    A single process decodes an image once for its repeats in a batch. With as many processes as
    repeats each decodes it; there ``SeededSampler(crops=...)`` keeps the samples together.

    Args:
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
        self.num_samples = -(-whole // self.world_size)

    def _sample(self, order: np.ndarray, number: int, epoch: int) -> SeededIndex:
        place, copy = divmod(number * self.world_size + self.rank, self.repeats)
        index = int(order[place % self.size])
        return SeededIndex(index, mix_seed(self.seed, epoch, index, copy))


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(_Seeded):
    """Endless shuffles, each place computed directly; arguments as of :class:`SeededSampler`."""

    def __iter__(self) -> Iterator[SeededIndex]:
        position = self.start * self.world_size + self.rank
        current, order = -1, np.empty(0)
        while True:
            epoch, offset = divmod(position, self.size)
            if epoch != current:
                current = epoch
                order = epoch_order(self.seed, epoch, self.size, self.shuffle)
            yield self._at(order, offset, epoch)
            position += self.world_size

    def __len__(self) -> int:
        return self.size  # as mmengine's infinite sampler does

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: there are no epochs here."""

    def set_progress(self, epoch: int = 0, start: int = 0) -> None:
        """Continue where this process has consumed ``start`` samples since the beginning."""
        if start < 0:
            raise ValueError(f'start must not be negative, got {start}')
        self.start = start

    def skip(self, num_samples: int) -> None:
        """Skip samples from the beginning, as mmengine's loop asks for when it resumes."""
        self.set_progress(start=num_samples)
