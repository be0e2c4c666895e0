"""TrackingNet: thirty thousand videos from the web."""

import json
import os
from collections.abc import Sequence
from typing import Any, ClassVar

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.io import read_text

from ..registry import DATASETS
from .frames import NumberedFrames
from .stores import PartedStore, Store, open_store
from .table import SequenceRow
from .videos import Entry, VideoSet

TRAIN_SETS = 12
_LIST = 'seq_list.json'


@DATASETS.register_module()
class TrackingNet(VideoSet):
    """TrackingNet (Mueller et al., ECCV 2018): 30 132 videos to train in 12 sets, 511 to test.

    Layout: ``TRAIN_0/frames/VIDEO/0.jpg`` and on, ``TRAIN_0/anno/VIDEO.txt``; ``TEST`` likewise,
    with the first box alone. As LMDBs: ``TRAIN_0_lmdb`` and so on with the keys ``anno/VIDEO.txt``
    and ``frames/VIDEO/0.jpg``, and ``seq_list.json`` beside them: pairs of the number of a set and
    a video. A target is visible where its box has an area.

    Args:
        data_root: Folder with the sets, or with their LMDBs.
        sets: Numbers of the training sets to use, all that are there by default.
        **kwargs: As :class:`VideoSet`.
    """

    name: ClassVar[str] = 'TrackingNet'
    ORIGIN: ClassVar[str] = (
        "Unpack TrackingNet's sets below data_root, so that TRAIN_0/anno/VIDEO.txt and "
        'TRAIN_0/frames/VIDEO/0.jpg (or TEST/...) are there.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'test')
    FIRST_ONLY: ClassVar[tuple[str, ...]] = ('test',)

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str = 'train',
        sets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if sets is not None and (split != 'train' or not set(sets) <= set(range(TRAIN_SETS))):
            raise DatasetError(
                f"sets={[*sets]}: the split 'train' has the sets 0 to {TRAIN_SETS - 1}"
            )
        self._wanted, self._all_needed = self._part_names(split, sets), sets is not None
        super().__init__(data_root, split, **kwargs)

    @classmethod
    def required_files(
        cls,
        data_root: str,
        split: str = 'train',
        sets: Sequence[int] | None = None,
        source: str = 'folder',
        **kwargs: Any,
    ) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        cls._check_split(split)
        if split == 'train' and sets is None:
            return [data_root]
        suffix = '_lmdb' if source == 'lmdb' else ''
        return [os.path.join(data_root, name + suffix) for name in cls._part_names(split, sets)]

    @staticmethod
    def _part_names(split: str, sets: Sequence[int] | None) -> list[str]:
        if split == 'test':
            return ['TEST']
        return [f'TRAIN_{number}' for number in (range(TRAIN_SETS) if sets is None else sets)]

    def _open_store(self, root: str, source: str) -> Store:
        suffix = '_lmdb' if source == 'lmdb' else ''
        missing = [p for p in self._wanted if not os.path.isdir(os.path.join(root, p + suffix))]
        self.parts = [part for part in self._wanted if part not in missing]
        if missing and (self._all_needed or not self.parts):
            names = ', '.join(part + suffix for part in missing)
            raise DatasetError(f'{root}: has no folder {names}. {self.ORIGIN}')
        if source == 'lmdb':
            return PartedStore(root, {part: f'{part}_lmdb' for part in self.parts})
        return open_store(root, source)

    def _list_entries(self) -> list[Entry]:
        listed = self._list_beside() if isinstance(self.store, PartedStore) else None
        entries = []
        for part in self.parts:
            if listed is None:
                notes = self.store.children(f'{part}/anno')
                names = [note[:-4] for note in notes if note.endswith('.txt')]
            else:
                names = listed.get(part, [])
            entries += [Entry(n, f'{part}/frames/{n}', (f'{part}/anno/{n}.txt',)) for n in names]
        return entries

    def _list_beside(self) -> dict[str, list[str]] | None:
        """Return the videos that the list beside the LMDBs names, by set, if there is one."""
        path = os.path.join(self.data_root, _LIST)
        if self.split != 'train' or not os.path.isfile(path):
            return None
        found: dict[str, list[str]] = {}
        try:
            for number, name in json.loads(read_text(path)):
                found.setdefault(f'TRAIN_{int(number)}', []).append(str(name))
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f'{path}: is no list of [number of a set, video] ({error}). Make it again by '
                'tools/dataset_converters/make_tracking_lmdb.py, or remove it.'
            ) from error
        return found

    def _options(self) -> tuple[str, ...]:
        return (*super()._options(), *self.parts)

    def _parse(self, entry: Entry) -> SequenceRow:
        return self._row(entry, self._boxes(entry.notes[0]), {})

    def open_frames(self, folder: str, length: int) -> NumberedFrames:
        """Return the frames of a video: 0.jpg and on."""
        return NumberedFrames(self.store, folder, length, first=0, digits=1)
