"""Pictures to look at: files, folders, arrays and videos, read one at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightvit_dense.datasets.transforms.loading import BadImage, decode
from lightvit_dense.errors import UserError
from lightvit_dense.utils.constants import IMAGE_EXTENSIONS as IMAGES
from lightvit_dense.utils.constants import VIDEO_EXTENSIONS as VIDEOS
from lightvit_dense.utils.io import is_clutter

from .results import Failure


class InferenceError(UserError):
    """An input that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Picture:
    """A picture that was read."""

    name: str  # unique among the inputs of a call
    pixels: np.ndarray  # RGB, uint8 [H, W, 3]
    path: str | None = None  # None for an array
    frame: int | None = None  # number in its video, None for a still picture
    fps: float = 0.0  # of the video


def check_array(array: Any) -> np.ndarray:
    """Return pixels (uint8 RGB [H, W, 3], or grey [H, W] or [H, W, 1]) as uint8 [H, W, 3]."""
    if not isinstance(array, np.ndarray):
        raise InferenceError(
            f'a {type(array).__name__} is no input: give a path, or a numpy array of pixels'
        )
    if array.dtype != np.uint8:
        bad = array.dtype.kind == 'f' and not np.isfinite(array).all()
        what = ' with values that are not finite' if bad else ''
        raise InferenceError(
            f'an array of {array.dtype}{what} is no picture: pixels are uint8 in 0..255 (for '
            'values in 0..1: (255 * array).round().astype(numpy.uint8))'
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise InferenceError(
            f'an array of shape {array.shape} is no picture: expected [H, W, 3] in RGB order, or '
            '[H, W] for grey'
        )
    if 0 in array.shape:
        raise InferenceError(f'an array of shape {array.shape} has no pixels')
    return np.ascontiguousarray(array)


class Sources:
    """Paths, arrays, or several of them, read one at a time; ``exif`` turns files upright."""

    def __init__(self, inputs: Any, recursive: bool = False, exif: bool = True) -> None:
        self._recursive, self._exif = recursive, exif
        self._used: set[str] = set()
        single = isinstance(inputs, (str, os.PathLike, np.ndarray))
        if not single and not isinstance(inputs, Iterable):
            check_array(inputs)  # raises
        self._items: Iterable[Any] = [inputs] if single else inputs

    def __iter__(self) -> Iterator[Picture | Failure]:
        self._used.clear()
        for index, item in enumerate(self._items):
            if isinstance(item, (str, os.PathLike)):
                yield from self._path(os.fspath(item))
                continue
            try:
                yield Picture(self._name(f'array_{index:06d}'), check_array(item))
            except InferenceError as error:
                yield Failure(f'input {index}', str(error))

    def total(self) -> int | None:
        """Count the pictures without reading them; None if nobody knows before they are read."""
        if not isinstance(self._items, Sequence):
            return None
        return sum(self._count(item) for item in self._items)

    def _count(self, item: Any) -> int:
        path = Path(item) if isinstance(item, (str, os.PathLike)) else None
        if path is not None and path.is_dir():
            return len(self._listing(path))
        if path is not None and path.suffix.lower() in VIDEOS and path.is_file():
            capture = cv2.VideoCapture(str(path))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
            return max(0, count)  # 0 where the header tells none
        return 1

    def _name(self, *choices: str) -> str:
        """Return the first of the names that is free, if need be with a number behind it."""
        name = next((choice for choice in choices if choice not in self._used), choices[-1])
        number, unique = 2, name
        while unique in self._used:
            unique, number = f'{name}-{number}', number + 1
        self._used.add(unique)
        return unique

    def _path(self, given: str) -> Iterator[Picture | Failure]:
        path = Path(given).expanduser()
        if '://' in given:
            yield Failure(given, 'addresses are not read: download the file and give its path')
        elif path.is_dir():
            files = self._listing(path)
            for file in files:
                relative = os.path.relpath(file, path)
                yield self._image(file, os.path.splitext(relative)[0], relative)
            if not files:
                deep = 'it or below it' if self._recursive else 'it (not searched below it)'
                yield Failure(given, f'no image in {deep}; images end in {" ".join(IMAGES)}')
        elif not path.exists():
            yield Failure(given, 'does not exist')
        elif path.suffix.lower() in VIDEOS:
            yield from _frames(path, self._name(path.stem, path.name), self._name)
        else:
            yield self._image(path, path.stem, path.name)

    def _listing(self, folder: Path) -> list[Path]:
        """Return the pictures of a folder, and folders that cannot be listed."""
        found: list[Path] = []
        walk = os.walk(folder, onerror=lambda error: found.append(Path(str(error.filename))))
        for at, _, names in walk:
            images = (name for name in names if name.lower().endswith(IMAGES))
            found += [Path(at, name) for name in images if not is_clutter(name)]
            if not self._recursive:
                break
        return sorted(found)

    def _image(self, path: Path, *names: str) -> Picture | Failure:
        name = self._name(*names)
        if path.exists() and not path.is_file():
            return Failure(str(path), 'not a regular file, or a folder that cannot be listed')
        try:
            pixels = decode(path.read_bytes(), 'rgb', exif=self._exif, path=str(path))
            return Picture(name, pixels, str(path))
        except (BadImage, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return Failure(str(path), reason or str(error))


def _frames(path: Path, name: str, unique: Callable[[str], str]) -> Iterator[Picture | Failure]:
    """Read the frames of a video one by one."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            yield Failure(str(path), 'not a video that OpenCV can read, or damaged')
            return
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps < 1000 else 25.0
        promised, count = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
        while (read := capture.read())[0]:
            pixels = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            yield Picture(unique(f'{name}/{count:06d}'), pixels, str(path), count, fps)
            count += 1
        if not count:
            yield Failure(str(path), 'a video without a frame that can be decoded')
        # Containers that store a duration instead of a count may be off by a frame or two.
        elif count < 0.98 * promised - 2:
            yield Failure(str(path), f'ends after {count} of {promised:.0f} frames: truncated')
    finally:
        capture.release()
