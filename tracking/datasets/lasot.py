"""LaSOT: long videos of 70 classes."""

import re
from typing import ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.toyworld.video import ATTRIBUTES

from ..registry import DATASETS
from .published import lasot_test
from .table import SequenceRow
from .text import parse_flags
from .videos import Entry, VideoSet

LISTS = {'train': 'training_set.txt', 'test': 'testing_set.txt'}


@DATASETS.register_module()
class LaSOT(VideoSet):
    """LaSOT (Fan et al., CVPR 2019): 1400 videos, 70 classes of 20; 1120 to train, 280 to test.

    ``data_root`` is a folder or the LMDB made of it; for the options see :class:`VideoSet`. Layout:
    ``airplane/airplane-1/`` with ``img/00000001.jpg`` and on, ``groundtruth.txt`` (x, y, width,
    height a line), ``full_occlusion.txt`` and ``out_of_view.txt`` (a row of 0 and 1). Where the
    root has ``testing_set.txt`` (or ``training_set.txt``), that list counts, else the published
    one; what is not listed for testing is for training. A target is visible where its box has an
    area and neither flag is set. ``att/airplane-1.txt`` (14 flags, from LaSOT's evaluation toolkit)
    names the challenges.
    """

    name: ClassVar[str] = 'LaSOT'
    ORIGIN: ClassVar[str] = (
        "Unpack the archives of LaSOT's classes below data_root, so that "
        'airplane/airplane-1/groundtruth.txt is there.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'test')
    GONE: ClassVar[tuple[str, ...]] = ('full_occlusion', 'out_of_view')
    ATTRIBUTES: ClassVar[tuple[str, ...]] = ATTRIBUTES

    def _list_entries(self) -> list[Entry]:
        there: dict[str, str] = {}
        for class_name in self.store.children():
            pattern = re.compile(rf'{re.escape(class_name)}-(\d+)')
            found = filter(pattern.fullmatch, self.store.children(class_name))
            there |= {n: class_name for n in sorted(found, key=lambda n: int(n.rpartition('-')[2]))}
        listed = self._listed(LISTS[self.split])
        if listed is None:
            tests = self._listed(LISTS['test']) or lasot_test()
            rest = [name for name in there if name not in set(tests)]
            listed = rest if self.split == 'train' else list(tests)
        entries = []
        for name in self._choose(listed, set(there)):
            folder = f'{there[name]}/{name}'
            files = ('groundtruth', *self.GONE)
            notes = (*(f'{folder}/{file}.txt' for file in files), f'att/{name}.txt')
            entries.append(Entry(name, f'{folder}/img', notes, there[name]))
        return entries

    def _parse(self, entry: Entry) -> SequenceRow:
        boxes, reasons, marks = self._boxes(entry.notes[0]), entry.notes[1:3], entry.notes[3]
        flags = (self._flags(key, len(boxes)) != 0 for key in reasons)
        gone = dict(zip(self.GONE, flags, strict=True))
        attributes: tuple[str, ...] = ()
        data = self._read(marks)
        if data is not None:
            marked = parse_flags(data, self.store.where(marks))
            if len(marked) != len(self.ATTRIBUTES):
                raise DatasetError(
                    f'{self.store.where(marks)}: has {len(marked)} flags, LaSOT knows '
                    f'{len(self.ATTRIBUTES)} challenges.'
                )
            attributes = tuple(self.ATTRIBUTES[place] for place in np.flatnonzero(marked))
        return self._row(entry, boxes, gone, entry.class_name, attributes)
