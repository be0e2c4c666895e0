"""LaSOT: long videos of 70 classes."""

import os
import re
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError

from ..registry import DATASETS
from .published import lasot_test
from .stores import open_store
from .table import SequenceRow
from .text import parse_boxes, parse_flags
from .videos import Entry, Read, VideoSet, choose_listed, merge_flags

LISTS = {'train': 'training_set.txt', 'test': 'testing_set.txt'}


@DATASETS.register_module()
class LaSOT(VideoSet):
    """LaSOT (Fan et al., CVPR 2019): 1400 videos, 70 classes of 20; 1120 to train, 280 to test.

    Layout: ``airplane/airplane-1/`` with ``img/00000001.jpg`` and on, ``groundtruth.txt`` (x, y,
    width, height a line), ``full_occlusion.txt`` and ``out_of_view.txt`` (a row of 0 and 1).
    Where the root has ``testing_set.txt`` (or ``training_set.txt``), that list counts, else the
    published one; what is not listed for testing is for training. A target is visible where its
    box has an area and neither flag is set. If there is ``att/airplane-1.txt`` (a row of 14 flags,
    from LaSOT's evaluation toolkit), it names the challenges.

    Args:
        data_root: Folder with the classes' folders in it, or the LMDB made of it.
        split: 'train' or 'test'.
        source: 'folder', or 'lmdb' if ``data_root`` is an LMDB.
        lengths: 'exact' or 'shortest', see :class:`VideoSet`.
        cache_dir: Where the index is kept, see :class:`VideoSet`.

    Raises:
        DatasetError: If data are missing or malformed.
    """

    TITLE: ClassVar[str] = 'LaSOT'
    ORIGIN: ClassVar[str] = (
        "Unpack the archives of LaSOT's classes below data_root, so that "
        'airplane/airplane-1/groundtruth.txt is there.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'test')
    GONE: ClassVar[tuple[str, ...]] = ('full_occlusion', 'out_of_view')
    ATTRIBUTES: ClassVar[tuple[str, ...]] = (
        'Illumination Variation',
        'Partial Occlusion',
        'Deformation',
        'Motion Blur',
        'Camera Motion',
        'Rotation',
        'Background Clutter',
        'Viewpoint Change',
        'Scale Variation',
        'Full Occlusion',
        'Fast Motion',
        'Out-of-View',
        'Low Resolution',
        'Aspect Ratio Change',
    )

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str = 'train',
        source: str = 'folder',
        lengths: str = 'exact',
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        self.check_split(split)
        super().__init__(data_root, split, open_store(str(data_root), source), lengths, cache_dir)

    @classmethod
    def required_files(cls, data_root: str, split: str = 'train', **kwargs: Any) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        cls.check_split(split)
        return [data_root]

    def list_entries(self) -> list[Entry]:
        """Return the sequences of the split, class by class, in the order of their numbers."""
        there: dict[str, str] = {}
        for class_name in self.store.children():
            pattern = re.compile(rf'{re.escape(class_name)}-(\d+)')
            found = filter(pattern.fullmatch, self.store.children(class_name))
            there |= {n: class_name for n in sorted(found, key=lambda n: int(n.rpartition('-')[2]))}
        listed = self._listed(self.split)
        if listed is None:  # training: the rest
            for_test = set(self._listed('test') or lasot_test())
            listed = [name for name in there if name not in for_test]
        chosen = choose_listed(self.TITLE, self.split, listed, set(there))
        return [self._entry(there[name], name) for name in chosen]

    def _listed(self, split: str) -> list[str] | None:
        """Return the sequences that a list names; None if there is none."""
        data = self._read(LISTS[split])
        if data is not None:
            return [line.strip() for line in data.decode('utf-8-sig').splitlines() if line.strip()]
        return list(lasot_test()) if split == 'test' else None

    @staticmethod
    def _entry(class_name: str, name: str) -> Entry:
        files = ('groundtruth.txt', 'full_occlusion.txt', 'out_of_view.txt')
        folder = f'{class_name}/{name}'
        notes = (*(f'{folder}/{file}' for file in files), f'att/{name}.txt')
        return Entry(name, f'{folder}/img', notes, class_name)

    def parse(self, entry: Entry, read: Read) -> SequenceRow:
        """Return the annotation of a sequence."""
        where = [self.store.where(key) for key in entry.notes]
        files = [self._need(read, key) for key in entry.notes[:3]]
        boxes = parse_boxes(files[0], where[0])
        flags = [parse_flags(data, at) for data, at in zip(files[1:], where[1:3], strict=True)]
        visible = merge_flags(boxes, flags, where[1:3])
        gone = {name: values != 0 for name, values in zip(self.GONE, flags, strict=True)}
        attributes = self._attributes(read(entry.notes[3]), where[3])
        return SequenceRow(
            entry.name, entry.folder, len(boxes), boxes, visible, entry.class_name, gone, attributes
        )

    def _attributes(self, data: bytes | None, where: str) -> tuple[str, ...]:
        if data is None:
            return ()
        flags = parse_flags(data, where)
        if len(flags) != len(self.ATTRIBUTES):
            raise DatasetError(
                f'{where}: has {len(flags)} flags, LaSOT knows {len(self.ATTRIBUTES)} challenges.'
            )
        return tuple(self.ATTRIBUTES[place] for place in np.flatnonzero(flags))
