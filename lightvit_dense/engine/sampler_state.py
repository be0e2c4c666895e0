"""Set a data loader to where a number of batches has been consumed, without loading them."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader


class SkippingBatches:
    """A batch sampler that passes over its first batches, once; only indices are drawn."""

    def __init__(self, batch_sampler: Any, count: int) -> None:
        self._inner, self._count = batch_sampler, count

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate from from the position that was set."""
        count, self._count = self._count, 0
        iterator = iter(self._inner)
        for _ in range(count):
            next(iterator, None)
        yield from iterator

    def __len__(self) -> int:
        """Return the number of batches in all."""
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def find_sampler(loader: DataLoader) -> Any:
    """Return what orders the samples, below a batch sampler of any kind."""
    below = getattr(loader.batch_sampler, 'sampler', None)
    return loader.sampler if below is None else below


def is_infinite(sampler: Any) -> bool:
    """Whether the sampler never ends; its class's name says so, as do mmengine's."""
    return 'Infinite' in type(sampler).__name__


def is_seeded(sampler: Any) -> bool:
    """Whether its indices carry the seed of their augmentation, as those of our samplers do."""
    return hasattr(sampler, 'set_progress')


def can_be_resumed(sampler: Any) -> bool:
    """Whether the order is known from the number of the epoch, or from the seed alone."""
    by_epoch = hasattr(sampler, 'set_epoch') and hasattr(sampler, 'epoch')
    return is_seeded(sampler) or is_infinite(sampler) or by_epoch


def set_position(loader: DataLoader, epoch: int, batches: int) -> None:
    """Make the next iteration over a loader begin in the middle of an epoch."""
    sampler, batch_size = find_sampler(loader), getattr(loader.batch_sampler, 'batch_size', 1)
    in_turn = type(loader.batch_sampler) is BatchSampler
    if in_turn and is_seeded(sampler):
        start = batches * batch_size
        if not is_infinite(sampler):
            start = min(start, len(sampler))  # the last batch may be smaller
        sampler.set_progress(epoch=epoch, start=start)
        return
    if in_turn and is_infinite(sampler) and hasattr(sampler, 'skip'):
        sampler.skip(batches * batch_size)
        return
    if is_seeded(sampler):
        sampler.set_progress(epoch=epoch, start=0)
    elif hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)
    if batches:
        # A loader refuses to change its attributes; its iterators read this one when they begin.
        object.__setattr__(loader, 'batch_sampler', SkippingBatches(loader.batch_sampler, batches))
