"""One's own videos: folders of pictures, or video files, with boxes beside them."""

import os
from typing import ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.unlabeled import EXTENSIONS

from ..registry import DATASETS
from .frames import VIDEO_EXTENSIONS, ListedFrames, VideoFrames, natural_order
from .sequence import Frames
from .table import SequenceRow
from .videos import Entry, VideoSet

_BOXES = ('groundtruth.txt', 'groundtruth_rect.txt')


@DATASETS.register_module()
class CustomSequences(VideoSet):
    """Videos of any origin, in a folder ``data_root``; for its options see :class:`VideoSet`.

    Layout: ``NAME/`` with pictures of any names, which are put in natural order ('2.jpg' before
    '10.jpg'), in it or in ``NAME/img/``, and ``groundtruth.txt`` (or ``groundtruth_rect.txt``); or
    ``NAME.mp4`` (or another video) and ``NAME.txt``. A line of boxes is x, y, width, height of a
    frame; one line alone is the box of the first frame. ``full_occlusion.txt`` and
    ``out_of_view.txt`` in a folder are used if they are there. Folders and videos without boxes are
    an error.
    """

    TITLE: ClassVar[str] = 'CustomSequences'
    ORIGIN: ClassVar[str] = (
        'A sequence is a folder of pictures with groundtruth.txt, or NAME.mp4 with NAME.txt.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('all',)
    FIRST_ONLY: ClassVar[tuple[str, ...]] = ('all',)
    GONE: ClassVar[tuple[str, ...]] = ('full_occlusion', 'out_of_view')

    def __init__(
        self,
        data_root: str | os.PathLike,
        lengths: str = 'exact',
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        super().__init__(data_root, 'all', 'folder', lengths, cache_dir)

    def _list_entries(self) -> list[Entry]:
        entries = []
        for name in sorted(self.store.children(), key=natural_order):
            stem, ending = os.path.splitext(name)
            if ending.lower() in VIDEO_EXTENSIONS:
                entries.append(Entry(stem, name, (f'{stem}.txt',)))
            elif os.path.isdir(self.store.where(name)):
                files = (*_BOXES, *(f'{reason}.txt' for reason in self.GONE))
                pictures = f'{name}/img' if self.store.exists(f'{name}/img') else name
                entries.append(Entry(name, pictures, tuple(f'{name}/{file}' for file in files)))
        return entries

    def _parse(self, entry: Entry) -> SequenceRow:
        given = [key for key in entry.notes[:2] if self.store.exists(key)]
        boxes = self._boxes(given[-1] if given else entry.notes[0])
        gone = {name: np.zeros(len(boxes), bool) for name in self.GONE}
        for name, key in zip(self.GONE, entry.notes[2:], strict=False):
            if self.store.exists(key):
                gone[name] = self._flags(key) != 0
        return self._row(entry, boxes, gone, entry.notes[2:])

    def open_frames(self, folder: str, length: int) -> Frames:
        """Return the frames of a sequence."""
        if folder.lower().endswith(VIDEO_EXTENSIONS) and os.path.isfile(self.store.where(folder)):
            video = VideoFrames(self.store.where(folder))
            video.length = min(video.length, length)
            return video
        return ListedFrames(self.store, self._pictures(folder)[:length])

    def _pictures(self, folder: str) -> list[str]:
        names = [n for n in self.store.children(folder) if n.lower().endswith(EXTENSIONS)]
        return [f'{folder}/{name}' for name in sorted(names, key=natural_order)]

    def _count_frames(self, folder: str) -> int:
        if folder.lower().endswith(VIDEO_EXTENSIONS):
            return len(VideoFrames(self.store.where(folder)))
        return len(self._pictures(folder))

    def _frames_there(self, folder: str, boxes: int) -> int:
        return self._count_frames(folder)

    def _read(self, key: str) -> bytes | None:
        try:
            return super()._read(key)
        except IsADirectoryError as error:
            raise DatasetError(f'{self.store.where(key)} is a folder, not a file') from error
