"""One's own videos: folders of pictures, or video files, with boxes beside them."""

import os
import re
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.constants import VIDEO_EXTENSIONS

from ..registry import DATASETS
from .cache import WARNING
from .frames import PICTURE_FOLDERS, ListedFrames, VideoFrames, list_pictures, natural_order
from .sequence import Frames
from .table import SequenceRow
from .text import has_area
from .videos import Entry, VideoSet

_BOXES = ('groundtruth.txt', 'groundtruth_rect.txt')
_FLAGS = {
    'full_occlusion.txt': 'full_occlusion',
    'out_of_view.txt': 'out_of_view',
    'absence.label': 'absence',
    'absence.txt': 'absence',
    'absent.txt': 'absence',
    'cover.label': 'no_cover',  # 0 where nothing of the target is seen
}
_LIKE_FLAGS = re.compile(
    r'(absen|cover|exist|occlu|out.?of.?view|presen|visib).*\.(txt|label|tag)$'
)


@DATASETS.register_module()
class CustomSequences(VideoSet):
    """Videos of any origin, in a folder ``data_root``; for other options see :class:`VideoSet`.

    Layout: ``NAME/`` with pictures of any names, which are put in natural order ('2.jpg' before
    '10.jpg'), in it or in ``NAME/img/`` (or ``imgs``, ``frames``, ``color``), and
    ``groundtruth.txt`` (or ``groundtruth_rect.txt``); or ``NAME.mp4`` (or another video) and
    ``NAME.txt``. ``data_root`` may be such a folder ``NAME`` itself. A line of boxes is x, y,
    width, height of a frame; one line alone is the box of the first frame. The target is absent
    where its box has no area, and where a file of LaSOT's or GOT-10k's that is in the folder says
    so: ``full_occlusion.txt``, ``out_of_view.txt``, ``absence.label`` (or ``absence.txt``,
    ``absent.txt``), ``cover.label``. Folders and videos without boxes are an error.

    Args:
        first_pixel: What x and y of the first pixel are in the files: 0, or 1 as MATLAB counts.
    """

    name: ClassVar[str] = 'CustomSequences'
    ORIGIN: ClassVar[str] = (
        'A sequence is a folder of pictures with groundtruth.txt, or NAME.mp4 with NAME.txt.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('all',)
    FIRST_ONLY: ClassVar[tuple[str, ...]] = ('all',)
    GONE: ClassVar[tuple[str, ...]] = (*dict.fromkeys(_FLAGS.values()), 'no_box')

    def __init__(
        self,
        data_root: str | os.PathLike,
        lengths: str = 'exact',
        cache_dir: str | os.PathLike | None = None,
        first_pixel: int = 0,
    ) -> None:
        if first_pixel not in (0, 1):
            raise DatasetError(f'first_pixel={first_pixel!r}: files count pixels from 0 or from 1')
        self.first_pixel = first_pixel
        super().__init__(data_root, 'all', 'folder', lengths, cache_dir)

    @classmethod
    def required_files(cls, data_root: str, split: str = '', **kwargs: Any) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        return [data_root]  # that it takes no split is told when it is built

    def _list_entries(self) -> list[Entry]:
        if any(self.store.exists(name) for name in _BOXES):  # a sequence, not a folder of them
            return [self._folder_entry('')]
        entries: list[Entry] = []
        unread: list[str] = []
        for name in sorted(self.store.children(), key=natural_order):
            stem, ending = os.path.splitext(name)
            if os.path.isdir(self.store.where(name)):
                entries.append(self._folder_entry(name))
                files = filter(_LIKE_FLAGS.search, self.store.children(name))
                unread += [f'{name}/{file}' for file in files if file not in _FLAGS]
            elif ending.lower() in VIDEO_EXTENSIONS:
                entries.append(Entry(stem, name, (f'{stem}.txt',)))
            elif ending.lower() == '.txt':
                unread.append(name)
        unread = [key for key in unread if not any(key in entry.notes for entry in entries)]
        if unread:
            print_log(
                f'{self.data_root}: {", ".join(unread[:3])} ({len(unread)} in all) are not read; '
                f'NAME.txt is for NAME.mp4, and a folder tells of absence by {", ".join(_FLAGS)}',
                logger='current',
                level=WARNING,
            )
        return entries

    def _folder_entry(self, name: str) -> Entry:
        """Return the sequence of a folder, '' for the root."""
        names = self.store.children(name)
        pictures = next((n for n in PICTURE_FOLDERS if n in names), '')
        title = name or os.path.basename(os.path.realpath(self.data_root))
        notes = tuple(os.path.join(name, file) for file in (*_BOXES, *_FLAGS))
        return Entry(title, os.path.join(name, pictures).rstrip('/'), notes)

    def _options(self) -> tuple[str, ...]:
        return (*super()._options(), f'first_pixel={self.first_pixel}')

    def _parse(self, entry: Entry) -> SequenceRow:
        given = [key for key in entry.notes[:2] if self.store.exists(key)]
        boxes = self._boxes(given[-1] if given else entry.notes[0])
        boxes[:, :2] -= self.first_pixel
        gone = {name: np.zeros(len(boxes), bool) for name in self.GONE}
        gone['no_box'] = ~has_area(boxes)
        for key in filter(self.store.exists, entry.notes[2:]):
            reason = _FLAGS[os.path.basename(key)]
            flags = self._flags(key, len(boxes))
            gone[reason] |= flags == 0 if reason == 'no_cover' else flags != 0
        return self._row(entry, boxes, gone)

    def open_frames(self, folder: str, length: int) -> Frames:
        """Return the frames of a sequence."""
        path = self.store.where(folder)
        if os.path.isfile(path):
            video = VideoFrames(path)
            video.length = min(video.length, length)
            return video
        names = list_pictures(path)[:length]
        return ListedFrames(self.store, [os.path.join(folder, name) for name in names])

    def _count_frames(self, folder: str) -> int:
        path = self.store.where(folder)
        return len(VideoFrames(path) if os.path.isfile(path) else list_pictures(path))

    def _frames_there(self, folder: str, boxes: int) -> int:
        return self._count_frames(folder)
