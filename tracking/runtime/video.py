"""Videos and folders of frames to follow a target in, and the annotated video that comes of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lightvit_dense.apis.inference.results import Failure
from lightvit_dense.apis.inference.sources import IMAGES, VIDEOS, Sources
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.visualization.palette import line_color

from ..datasets.frames import natural_order

DEFAULT_FPS = 25.0
_COLOR = (255, 64, 32)


class VideoError(UserError):
    """A video that cannot be read or written; the message names it."""


class FrameSource:
    """The frames of a video, or of a folder in natural order (frame 2 before frame 10).

    They are read one at a time, but for ``start`` ones. ``fps`` is known after the first; a
    folder's is 25.
    """

    def __init__(self, path: str | Path, start: int = 0) -> None:
        self.path, self.start, self.fps = Path(path), start, DEFAULT_FPS
        if start < 0:
            raise VideoError(f'start={start}: must not be negative')
        if not self.path.exists():
            raise VideoError(f'{path} does not exist')
        if self.path.is_dir():
            paths = sorted(self.path.iterdir(), key=lambda path: natural_order(path.name))
            files = [p for p in paths if p.suffix.lower() in IMAGES and p.is_file()]
            if not files:
                raise VideoError(f'{path} has no pictures; these end in {" ".join(IMAGES)}')
            self._sources = Sources(files[start:])
        elif self.path.suffix.lower() in VIDEOS:
            self._sources = Sources(self.path)
        else:
            raise VideoError(
                f'{path} is neither a folder of frames nor a video; these end in {" ".join(VIDEOS)}'
                + did_you_mean(self.path.suffix.lower(), VIDEOS)
            )
        count = self._sources.total() or 0
        self._total = count if self.path.is_dir() else max(0, count - start)
        if self.path.is_dir() and not self._total:
            raise VideoError(f'{path}: starts at frame {start} of {len(files)}')

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, RGB uint8 [H, W, 3]."""
        left_out = 0 if self.path.is_dir() else self.start
        number = 0
        for number, picture in enumerate(self._sources, 1):
            if isinstance(picture, Failure):
                where = '' if picture.name == str(self.path) else f'{self.path}: '
                raise VideoError(f'{where}{picture}')
            if number > left_out:
                self.fps = picture.fps or DEFAULT_FPS
                yield picture.pixels
        if number <= left_out:
            raise VideoError(f'{self.path}: starts at frame {self.start} of {number}')


class AnnotatedVideo:
    """Writes frames with boxes drawn into them as an MP4 file.

    The file takes its name when it is complete. Frames of another size than the first are scaled.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != '.mp4':
            raise VideoError(f'{path}: videos are written as MP4; the name must end in .mp4')
        self._draft = self.path.with_name(f'.{self.path.stem}.part.mp4')
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0

    def add(self, frame: np.ndarray, box: np.ndarray, text: str) -> None:
        """Append a frame, RGB uint8 [H, W, 3], with its box or boxes and a text in the corner."""
        if self._writer is None:
            self._size = frame.shape[1], frame.shape[0]
            self._writer = self._open()
        picture = annotate(frame, box, text)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _open(self) -> cv2.VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoError(f'{self.path}: cannot be written ({error})') from error
        code = cv2.VideoWriter.fourcc(*'mp4v')
        writer = cv2.VideoWriter(str(self._draft), code, self._fps, self._size)
        if not writer.isOpened():
            raise VideoError(
                f'{self.path}: cannot be written; either the folder is not writable, or this '
                'OpenCV cannot write MP4'
            )
        return writer

    def close(self) -> None:
        """Finish the file and look whether it can be read."""
        if self._writer is None:
            raise VideoError(f'{self.path}: no frame was written')
        self._writer.release()
        capture = cv2.VideoCapture(str(self._draft))
        readable = capture.isOpened() and capture.read()[0]
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if not readable or count != self._count:
            raise VideoError(
                f'{self.path}: {self._count} frames were written and {count if readable else 0} '
                'can be read; is the disk full?'
            )
        os.replace(self._draft, self.path)


def annotate(frame: np.ndarray, box: np.ndarray, text: str) -> np.ndarray:
    """Return a copy of a frame, RGB uint8 [H, W, 3], with boxes and a line of text drawn in.

    A box [4] or several [K, 4] in pixels, each of which has its colour.
    """
    picture = frame.copy()
    unit = max(1, round(min(frame.shape[:2]) / 240))
    for place, (x, y, width, height) in enumerate(np.atleast_2d(box).tolist()):
        # The last pixel inside of an edge at x + width is x + width - 1.
        x, y, right, bottom = map(round, (x, y, x + width - 1, y + height - 1))
        color = line_color(place - 1) if place else _COLOR
        cv2.rectangle(picture, (x, y), (right, bottom), color, 2 * unit)
    place, font, scale = (4 * unit, 14 * unit), cv2.FONT_HERSHEY_SIMPLEX, 0.45 * unit
    cv2.putText(picture, text, place, font, scale, (0, 0, 0), 3 * unit, cv2.LINE_AA)
    cv2.putText(picture, text, place, font, scale, (255, 255, 255), unit, cv2.LINE_AA)
    return picture
