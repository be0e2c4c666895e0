"""TNL2K: videos with a sentence each."""

from typing import ClassVar

import numpy as np
from mmengine.logging import print_log

from ..registry import DATASETS
from .cache import WARNING
from .frames import ListedFrames, list_pictures
from .table import SequenceRow
from .videos import Entry, VideoSet

_COUNT = 700


@DATASETS.register_module()
class TNL2K(VideoSet):
    """TNL2K (Wang et al., CVPR 2021): 700 videos for tests; their sentences are not used.

    Layout: ``NAME/imgs/`` with pictures of any names, which are put in natural order, and
    ``NAME/groundtruth.txt``; ``data_root`` is ``TNL2K_test_subset`` or the folder that has it. A
    frame or a box more than of the others is left out: two sequences have a box too many. For the
    options see :class:`VideoSet`.
    """

    name: ClassVar[str] = 'TNL2K'
    ORIGIN: ClassVar[str] = (
        "Unpack TNL2K's test videos below data_root, so that NAME/groundtruth.txt and NAME/imgs/ "
        'are there.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('test',)
    GONE: ClassVar[tuple[str, ...]] = ('out_of_view',)
    SLACK: ClassVar[int] = 1

    def _list_entries(self) -> list[Entry]:
        inner = 'TNL2K_test_subset'
        root = f'{inner}/' if self.store.exists(inner) else ''
        names = [n for n in self.store.children(root[:-1]) if self.store.exists(f'{root}{n}/imgs')]
        if names and len(names) != _COUNT:
            text = f'{self.name}: {len(names)} of {_COUNT} published sequences are there'
            print_log(text, logger='current', level=WARNING)
        return [Entry(n, f'{root}{n}/imgs', (f'{root}{n}/groundtruth.txt',)) for n in names]

    def _parse(self, entry: Entry) -> SequenceRow:
        boxes = self._boxes(entry.notes[0])
        return self._row(entry, boxes, {'out_of_view': np.zeros(len(boxes), bool)})

    def open_frames(self, folder: str, length: int) -> ListedFrames:
        """Return the frames of a sequence."""
        names = list_pictures(self.store.where(folder))[:length]
        return ListedFrames(self.store, [f'{folder}/{name}' for name in names])

    def _count_frames(self, folder: str) -> int:
        return len(list_pictures(self.store.where(folder)))
