"""OTB, UAV123 and NFS: test sets whose sequences and frames are published as lists."""

import os
import re
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from mmengine.logging import print_log

from ..registry import DATASETS
from .cache import WARNING
from .frames import NumberedFrames
from .published import published_spans
from .table import SequenceRow
from .text import clean, parse_rows
from .videos import Entry, VideoSet

_ENDINGS = ('.jpg', '.png')
_OTB_BOXES = re.compile(r'groundtruth_rect(?:\.(\d+))?\.txt')
_NFS_LINE = re.compile(rb'^ *((?:[^ \n]+ +){6}[^ \n]+)[^\n]*', re.MULTILINE)  # more is not used
_NFS_STEP = 8


class ListedSet(VideoSet):
    """Videos for tests, whose frames have numbers; the first and last of each are published.

    Boxes are used as written, as pytracking and OSTrack do: the 1-based coordinates of these sets
    are not shifted, neither for trackers nor for metrics. Frames whose box has no area or is NaN
    are boxless, not absent, see :class:`tracking.evaluation.protocol.Protocol`. A warning names
    sequences that are missing or not of the set. For the options see :class:`VideoSet`.
    """

    LIST: ClassVar[str]  # name of the published list
    DIGITS: ClassVar[tuple[int, ...]]  # of the frames' numbers
    SPLITS: ClassVar[tuple[str, ...]] = ('test',)
    GONE: ClassVar[tuple[str, ...]] = ('out_of_view',)

    _last: dict[str, int]  # the published last frame, by the key of the first one
    # Folder of frames and annotation file of each sequence found, by name.
    _there: Callable[[], dict[str, tuple[str, str]]]

    def _annotation(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes [T, 4], and where the target is out of view, bool [T]."""
        boxes = self._boxes(entry.notes[0])
        return boxes, np.zeros(len(boxes), bool)

    def _list_entries(self) -> list[Entry]:
        spans, there = published_spans(self.LIST), self._there()
        names = self._choose([*spans], set(there))
        used = {there[name][0] for name in names}
        others = [n for n, (folder, _) in there.items() if n not in spans and folder not in used]
        if others:
            text = f'{self.name}: {", ".join(others)} are not of the set and are left out'
            print_log(text, logger='current', level=WARNING)
        entries, self._last = [], {}
        for name in names:
            (folder, note), (first, last, left_out) = there[name], spans[name]
            numbers = (f'{first + left_out:0{digits}d}' for digits in self.DIGITS)
            keys = [f'{folder}/{number}{ending}' for number in numbers for ending in _ENDINGS]
            key = next(filter(self.store.exists, keys), keys[0])
            self._last[key] = last
            entries.append(Entry(name, key, (note,)))
        return entries

    def _parse(self, entry: Entry) -> SequenceRow:
        left_out = published_spans(self.LIST)[entry.name][2]
        boxes, lost = self._annotation(entry)
        boxes[np.isnan(boxes).any(axis=1)] = 0
        return self._row(entry, boxes[left_out:], {'out_of_view': lost[left_out:]})

    # The key of its first frame says where the frames of a sequence are.

    def _where(self, folder: str) -> str:
        path, _, file = folder.rpartition('/')
        return f'{self.store.where(path)}, from {file} on'

    def open_frames(self, folder: str, length: int) -> NumberedFrames:
        """Return the frames of a sequence from its first one on."""
        path, _, file = folder.rpartition('/')
        number, ending = os.path.splitext(file)
        return NumberedFrames(self.store, path, length, int(number), len(number), ending)

    def _count_frames(self, folder: str) -> int:
        frames = self.open_frames(folder, 0)
        there = {f'{frames.folder}/{name}' for name in self.store.children(frames.folder)}
        published = range(self._last[folder] + 1 - frames.first)
        return sum(frames.key(index) in there for index in published)


@DATASETS.register_module()
class OTB(ListedSet):
    """OTB-2015, also OTB100 (Wu et al., TPAMI 2015): 100 targets in 98 videos, for tests.

    Layout: ``David/img/0300.jpg`` and on, ``David/groundtruth_rect.txt``. Where a video has several
    targets, as ``Jogging/groundtruth_rect.1.txt`` and ``.2.txt``, they are the sequences Jogging-1
    and Jogging-2; likewise Skating2-1, Skating2-2 and Human4-2. David begins with frame 300,
    Tiger1 with frame 6. For boxes and options see :class:`ListedSet`.
    """

    name: ClassVar[str] = 'OTB100'
    LIST: ClassVar[str] = 'otb100'
    DIGITS: ClassVar[tuple[int, ...]] = (4, 5)
    ORIGIN: ClassVar[str] = (
        "Unpack OTB's videos below data_root, so that David/groundtruth_rect.txt is there."
    )

    def _there(self) -> dict[str, tuple[str, str]]:
        found = {}
        for folder in self.store.children():
            for file in self.store.children(folder):
                if match := _OTB_BOXES.fullmatch(file):
                    name = f'{folder}-{match[1]}' if match[1] else folder
                    found[name] = f'{folder}/img', f'{folder}/{file}'
        return found


@DATASETS.register_module()
class UAV123(ListedSet):
    """UAV123 (Mueller et al., ECCV 2016): 123 sequences from 91 videos, for tests.

    Layout: ``anno/UAV123/car1_2.txt``, and ``data_seq/UAV123/car1/000751.jpg`` and on: several
    sequences are spans of frames of one folder. NaN is where the target is not seen; toolkits count
    such a frame as a hit of the precision (the protocol's ``boxless_centre='hit'``). For boxes and
    options see :class:`ListedSet`.
    """

    name: ClassVar[str] = 'UAV123'
    LIST: ClassVar[str] = 'uav123'
    DIGITS: ClassVar[tuple[int, ...]] = (6,)
    ORIGIN: ClassVar[str] = (
        "Unpack UAV123's archive, and give the folder that has anno/UAV123 and data_seq/UAV123."
    )

    def _there(self) -> dict[str, tuple[str, str]]:
        files = self.store.children('anno/UAV123')
        return {
            name: (f'data_seq/UAV123/{re.sub("_[0-9]+$", "", name)}', f'anno/UAV123/{name}.txt')
            for name in (file[:-4] for file in files if file.endswith('.txt'))
        }


@DATASETS.register_module()
class NFS(ListedSet):
    """Need for Speed (Kiani Galoogahi et al., ICCV 2017) at 30 frames/s: 100 sequences, for tests.

    Layout: ``bee/30/bee/00001.jpg`` and on, ``bee/30/bee.txt`` with a line ``id x1 y1 x2 y2 frame
    lost occluded generated "label"`` for each frame at 240 frames/s, of which every eighth is used;
    a target is out of view where it is lost. Or pytracking's: ``sequences/bee/00001.jpg`` and on,
    ``anno/nfs_bee.txt`` with x, y, width, height. A frame or a box more than of the others is left
    out, as the toolkits do. For boxes and options see :class:`ListedSet`.
    """

    name: ClassVar[str] = 'NFS'
    LIST: ClassVar[str] = 'nfs'
    DIGITS: ClassVar[tuple[int, ...]] = (5,)
    SLACK: ClassVar[int] = 1
    ORIGIN: ClassVar[str] = (
        "Unpack NFS's archives below data_root, so that bee/30/bee.txt and bee/30/bee/00001.jpg "
        'are there.'
    )

    def _there(self) -> dict[str, tuple[str, str]]:
        notes = [n[4:-4] for n in self.store.children('anno') if re.fullmatch(r'nfs_.+\.txt', n)]
        found = {name: (f'sequences/{name}', f'anno/nfs_{name}.txt') for name in notes}
        for name in self.store.children():
            if self.store.exists(f'{name}/30/{name}.txt'):
                found[name] = f'{name}/30/{name}', f'{name}/30/{name}.txt'
        return found

    def _annotation(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        if entry.notes[0].startswith('anno/'):
            return super()._annotation(entry)
        lines = _NFS_LINE.sub(rb'\1', clean(self._need(entry.notes[0])))
        rows = parse_rows(lines, self.store.where(entry.notes[0]), 7)
        if abs(-(-len(rows) // _NFS_STEP) - self._count_frames(entry.folder)) <= self.SLACK:
            rows = rows[::_NFS_STEP]
        boxes = np.concatenate([rows[:, 1:3], rows[:, 3:5] - rows[:, 1:3]], axis=1)
        return boxes, rows[:, 6] != 0
