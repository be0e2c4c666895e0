"""The pictures of a sequence: numbered files, listed files, or a video file."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.transforms.loading import BadImage, decode
from lightvit_dense.datasets.transforms.opened import OpenedImage
from lightvit_dense.utils.constants import IMAGE_EXTENSIONS
from lightvit_dense.utils.io import is_clutter

from .sequence import Frames
from .stores import Store

PICTURE_FOLDERS = ('img', 'imgs', 'frames', 'color')
"""Where sequences of one's own and of published sets have their pictures."""
_SKIP = 64  # up to so many frames ahead are read over, beyond it is sought


class StoredFrames:
    """Frames that are files of a store, by their keys."""

    store: Store
    key: Callable[[int], str]  # the key of a frame
    __len__: Callable[[], int]

    def read(self, index: int) -> np.ndarray:
        """Return a frame, RGB uint8 [H, W, 3]; grey, 16-bit and transparent ones are converted."""
        return self._make(index, lambda data: decode(data, 'rgb'))

    def open(self, index: int) -> OpenedImage:
        """Open a frame, of which windows can be decoded."""
        return self._make(index, OpenedImage)

    def _make(self, index: int, make: Callable[[bytes], Any]) -> Any:
        key = self.key(_inside(index, len(self)))
        try:
            return make(self.store.read(key))
        except (BadImage, OSError) as error:
            absent = isinstance(error, FileNotFoundError)
            why = f'does not exist ({error})' if absent else f'cannot be read: {error}'
            raise DatasetError(
                f'frame {self.store.where(key)} {why}. Restore the file, or take its sequence out '
                'of the data.'
            ) from error

    def name(self, index: int) -> str:
        """Return what a frame is read from."""
        return self.store.where(self.key(_inside(index, len(self))))


@dataclass(frozen=True)
class NumberedFrames(StoredFrames):
    """Frames of a folder whose names are their numbers, from ``first`` on, with zeros before."""

    store: Store
    folder: str
    length: int
    first: int = 1
    digits: int = 8
    ending: str = '.jpg'

    def __len__(self) -> int:
        return self.length

    def key(self, index: int) -> str:
        """Return the key of a frame, also of one beyond the last."""
        return f'{self.folder}/{index + self.first:0{self.digits}d}{self.ending}'


@dataclass(frozen=True)
class ListedFrames(StoredFrames):
    """Frames of any names: where they are, and their keys in order."""

    store: Store
    keys: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """Return the key of a frame."""
        return self.keys[index]


class VideoFrames:
    """Frames of a video file, decoded in order; a step back or a long one ahead is sought."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self._capture: Any = None
        self._next = 0
        if not os.path.isfile(self.path):
            raise DatasetError(f'{self.path}: this video does not exist.')
        self.length = int(self._open().get(cv2.CAP_PROP_FRAME_COUNT))
        if self.length < 1:
            raise DatasetError(
                f'{self.path}: the video does not tell how many frames it has. Write it anew, e.g. '
                'as MP4, or as a folder of pictures.'
            )

    def _open(self) -> Any:
        if self._capture is None:
            self._capture, self._next = cv2.VideoCapture(self.path), 0
            if not self._capture.isOpened():
                self._capture = None
                raise DatasetError(
                    f'{self.path}: is no video that OpenCV can decode. Convert it, e.g. to MP4 '
                    '(H.264), or to a folder of pictures.'
                )
        return self._capture

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> np.ndarray:
        """Return a frame, RGB uint8 [H, W, 3]."""
        index = _inside(index, self.length)
        capture = self._open()
        if not self._next <= index <= self._next + _SKIP:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        while self._next < index:
            capture.grab()
            self._next += 1
        found, frame = capture.read()
        self._next += 1
        if not found:
            self._capture.release()
            self._capture = None
            raise DatasetError(
                f'{self.name(index)} cannot be decoded. The video is damaged, or shorter than the '
                f'{self.length} frames that its head tells.'
            )
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB)

    def name(self, index: int) -> str:
        """Return the video and the number of a frame, from 0."""
        return f'{self.path}, frame {index}'

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_capture': None, '_next': 0}


def read_ahead(frames: Frames, workers: int) -> Iterator[np.ndarray]:
    """Yield all frames, decoded ahead of their use by so many threads, or when used by none."""
    if not workers:
        yield from map(frames.read, range(len(frames)))
        return
    # A video has one position; OpenCV decodes without the interpreter's lock.
    with ThreadPoolExecutor(1 if isinstance(frames, VideoFrames) else workers) as pool:
        ahead: deque = deque()
        for index in range(len(frames)):
            ahead.append(pool.submit(frames.read, index))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def list_pictures(folder: str | os.PathLike) -> list[str]:
    """Return the names of the pictures of a folder in natural order."""
    if not os.path.isdir(folder):
        return []
    files = (entry.name for entry in os.scandir(str(folder)) if entry.is_file())
    names = (n for n in files if n.lower().endswith(IMAGE_EXTENSIONS) and not is_clutter(n))
    return sorted(names, key=natural_order)


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key for sorting by which '2.jpg' comes before '10.jpg'."""
    parts = re.split(r'(\d+)', name)
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def _inside(index: int, length: int) -> int:
    """Return an index counted from the front; IndexError if there is no such frame."""
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError(f'frame {index} of a sequence of {length} frames')
    return place
