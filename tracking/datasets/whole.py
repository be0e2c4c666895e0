"""Whole sequences as items of a data loader, for tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import get_dist_info
from torch.utils.data import Dataset

from lightvit_dense.errors import UserError, did_you_mean

from ..registry import DATA_SAMPLERS, DATASETS
from ..structures import TrackSample
from .base import SequenceSet
from .sequence import VideoSequence


def list_sets(sets: Any, where: str) -> list[Any]:
    """Return one set or several, built ones or configs, as a list; anything else is an error."""
    listed = list(sets) if isinstance(sets, (list, tuple)) else [sets]
    for one in listed:
        if not (isinstance(one, SequenceSet) or (isinstance(one, Mapping) and 'type' in one)):
            raise UserError(
                f"{where}={one!r} is no set; write dict(type='tracking.LaSOT', data_root=...) or "
                'another of them'
            )
    return listed


@DATASETS.register_module()
class SequenceDataset(Dataset):
    """Sequence sets to track and to judge, one item a sequence; nothing is decoded here.

    An item is ``dict(inputs=dict(), data_samples=TrackSample)`` whose ``sequence`` is a
    :class:`VideoSequence`; batches of one are collated by mmengine's ``pseudo_collate``. Two
    sequences of one name are an error.

    Args:
        sequences: Config of a sequence set, e.g. ``dict(type='tracking.LaSOT', split='test')``, or
            a list of several; built sets will do too.
        names: Keep only the sequences of these names, in this order; None for all.
        limit: Keep at most so many, from the first on; None for all.
    """

    def __init__(
        self, sequences: Any, names: Sequence[str] | None = None, limit: int | None = None
    ) -> None:
        listed = list_sets(sequences, 'SequenceDataset: sequences')
        self.sets = [DATASETS.build(one) if isinstance(one, Mapping) else one for one in listed]
        known = [
            (name, (number, index))
            for number, one in enumerate(self.sets)
            for index, name in enumerate(one.names)
        ]
        places = dict(known)
        if len(places) < len(known):
            twice = Counter(name for name, _ in known).most_common(1)[0][0]
            raise UserError(
                f'two sequences are called {twice!r}; rename one (the folder walk and walk.mp4 '
                'have one name), or test their sets one after the other'
            )
        if unknown := [name for name in names or () if name not in places]:
            where = ', '.join(str(one.name) for one in self.sets)
            hint = did_you_mean(unknown[0], places)
            raise UserError(f'{where}: has no sequence {unknown[0]!r}.{hint}')
        if limit is not None and limit < 1:
            raise UserError(f'limit={limit}: at least one sequence must be kept')
        self.all_names: tuple[str, ...] = tuple(places)
        self.names: tuple[str, ...] = tuple(places if names is None else names)[:limit]
        if not self.names:
            raise UserError('there is no sequence to test; check `sequences` and `names`')
        self._places = [places[name] for name in self.names]

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the sets tell of themselves, the first one first."""
        found: dict[str, Any] = {}
        for entry in reversed(self.sets):
            found |= dict(getattr(entry, 'metainfo', None) or {})
        return found

    def sequence(self, index: int) -> VideoSequence:
        """Return a sequence."""
        number, place = self._places[index]
        return self.sets[number][place]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f'sequence {index} of {len(self)}')
        sequence = self.sequence(index)
        sample = TrackSample(metainfo=dict(sequence_name=sequence.name, dataset=sequence.dataset))
        sample.set_field(sequence, 'sequence')
        return {'inputs': {}, 'data_samples': sample}


@DATA_SAMPLERS.register_module()
class LongestFirstSampler(list[int]):
    """Sequences of this process: the longest go first, to whoever has the fewest frames so far."""

    def __init__(self, dataset: SequenceDataset, seed: int | None = None) -> None:
        rank, processes = get_dist_info()
        frames, shares = [0] * processes, [list[int]() for _ in range(processes)]
        lengths = [len(dataset.sequence(index)) for index in range(len(dataset))]
        for index in sorted(range(len(dataset)), key=lambda index: -lengths[index]):
            process = frames.index(min(frames))
            frames[process] += lengths[index]
            shares[process].append(index)
        super().__init__(sorted(shares[rank]))
