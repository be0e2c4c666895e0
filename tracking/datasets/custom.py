"""One's own videos: folders of pictures, or video files, with boxes beside them."""

import os
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.unlabeled import EXTENSIONS

from ..registry import DATASETS
from .frames import VIDEO_EXTENSIONS, ListedFrames, VideoFrames, natural_order
from .sequence import Frames
from .stores import FolderStore
from .table import SequenceRow
from .text import parse_boxes, parse_flags
from .videos import Entry, Read, VideoSet, merge_flags

_BOXES = ('groundtruth.txt', 'groundtruth_rect.txt')


@DATASETS.register_module()
class CustomSequences(VideoSet):
    """Videos of any origin.

    Layout: ``NAME/`` with pictures of any names, which are put in natural order ('2.jpg' before
    '10.jpg'), in it or in ``NAME/img/``, and ``groundtruth.txt`` (or ``groundtruth_rect.txt``); or
    ``NAME.mp4`` (or another video) and ``NAME.txt``. A line of boxes is x, y, width, height of a
    frame; one line alone is the box of the first frame. ``full_occlusion.txt`` and
    ``out_of_view.txt`` in a folder are used if they are there. Folders and videos without boxes
    are an error.

    Args:
        data_root: The folder.
        lengths: 'exact' or 'shortest', see :class:`VideoSet`.
        cache_dir: Where the index is kept, see :class:`VideoSet`.

    Raises:
        DatasetError: If data are missing or malformed.
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
        super().__init__(data_root, 'all', FolderStore(data_root), lengths, cache_dir)

    @classmethod
    def required_files(cls, data_root: str, **kwargs: Any) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        return [data_root]

    def list_entries(self) -> list[Entry]:
        """Return the sequences, in natural order."""
        names = sorted(self.store.children(), key=natural_order)
        entries = []
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending.lower() in VIDEO_EXTENSIONS:
                entries.append(Entry(stem, name, (f'{stem}.txt',)))
            elif os.path.isdir(self.store.where(name)):
                files = (*_BOXES, *(f'{reason}.txt' for reason in self.GONE))
                pictures = f'{name}/img' if self.store.exists(f'{name}/img') else name
                entries.append(Entry(name, pictures, tuple(f'{name}/{file}' for file in files)))
        return entries

    def parse(self, entry: Entry, read: Read) -> SequenceRow:
        """Return the annotation of a sequence."""
        where = [self.store.where(key) for key in entry.notes]
        data, at = (read(entry.notes[1]), where[1]) if len(where) > 1 else (None, '')
        if data is None:
            data, at = self._need(read, entry.notes[0]), where[0]
        boxes = parse_boxes(data, at)
        gone = {name: np.zeros(len(boxes), bool) for name in self.GONE}
        for name, key, path in zip(self.GONE, entry.notes[2:], where[2:], strict=False):
            flags = read(key)
            if flags is not None:
                values = parse_flags(flags, path)
                merge_flags(boxes, (values,), (path,))
                gone[name] = values != 0
        visible = merge_flags(boxes, gone.values(), gone)
        return SequenceRow(entry.name, entry.folder, len(boxes), boxes, visible, '', gone)

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

    def count_frames(self, folder: str) -> int:
        """Return how many frames a sequence has."""
        if folder.lower().endswith(VIDEO_EXTENSIONS):
            return len(VideoFrames(self.store.where(folder)))
        return len(self._pictures(folder))

    def _frames_there(self, folder: str, boxes: int) -> int:
        return self.count_frames(folder)

    def _read(self, key: str) -> bytes | None:
        try:
            return super()._read(key)
        except IsADirectoryError as error:
            raise DatasetError(f'{self.store.where(key)} is a folder, not a file') from error
