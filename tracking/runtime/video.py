"""Videos and folders of frames to follow a target in, and the annotated video that comes of it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lightvit_dense.apis.inference.results import Failure
from lightvit_dense.apis.inference.sources import IMAGES, VIDEOS, Picture, Sources
from lightvit_dense.apis.inference.writer import open_mp4
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.visualization import draw_boxes, write_texts
from lightvit_dense.visualization.palette import line_color

from ..boxes import to_corners
from ..datasets.frames import PICTURE_FOLDERS, list_pictures

DEFAULT_FPS = 25.0
_COLOR = (255, 64, 32)


class VideoError(UserError):
    """A video that cannot be read or written; the message names it."""


class FrameSource:
    """The frames of a video, of a camera, or of a folder in natural order (2 before 10).

    They are read one at a time, but for ``start`` ones. ``fps`` is known after the first; a
    folder's is 25. A folder may have its pictures in ``img`` or another of ``PICTURE_FOLDERS``. A
    camera is its number; it has no end, and length 0.
    """

    def __init__(self, path: str | Path, start: int = 0) -> None:
        self.path, self.start, self.fps = Path(path), start, DEFAULT_FPS
        if start < 0:
            raise VideoError(f'start={start}: must not be negative')
        self.is_camera = str(path).isdecimal() and not self.path.exists()
        if self.is_camera:
            self._total = 0
            return
        if not self.path.exists():
            raise VideoError(f'{path} does not exist')
        if self.path.is_dir():
            places = [self.path, *(self.path / name for name in PICTURE_FOLDERS)]
            files = next(filter(None, ([p / n for n in list_pictures(p)] for p in places)), [])
            if not files:
                inner = sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())
                hint = f' Its folders are {", ".join(inner[:3])}: give one.' if inner else ''
                raise VideoError(f'{path} has no pictures; these end in {" ".join(IMAGES)}.{hint}')
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
        camera = int(self.path.name) if self.is_camera else None
        for number, picture in enumerate(self._sources if camera is None else watch(camera), 1):
            if isinstance(picture, Failure):
                where = '' if picture.name == str(self.path) else f'{self.path}: '
                raise VideoError(f'{where}{picture}')
            if number > left_out:
                self.fps = picture.fps or DEFAULT_FPS
                yield picture.pixels
        if number <= left_out:
            raise VideoError(f'{self.path}: starts at frame {self.start} of {number}')


def watch(camera: int) -> Iterator[Picture]:
    """Yield what a camera sees, until it ends."""
    capture = cv2.VideoCapture(camera)
    try:
        found, frame = capture.read()
        if not found:
            raise VideoError(
                f'{camera} is not a file, and camera {camera} gives no frame: check that it is '
                'connected and not in use'
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        while found:
            yield Picture(f'camera {camera}', cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), fps=fps)
            found, frame = capture.read()
    finally:
        capture.release()


def select_box(frame: np.ndarray) -> list[float]:
    """Let the user draw the target in a frame, RGB uint8 [H, W, 3], with the mouse."""
    remedy = 'give --box X Y WIDTH HEIGHT'
    shown = sys.platform in ('win32', 'darwin') or {'DISPLAY', 'WAYLAND_DISPLAY'} & set(os.environ)
    if not shown:
        raise VideoError(f'--select opens a window, and there is no display here; {remedy}')
    title = 'Draw the target, then press Enter'
    try:
        box = cv2.selectROI(title, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), showCrosshair=False)
        cv2.destroyWindow(title)
    except cv2.error as error:
        raise VideoError(f'--select: this OpenCV opens no windows ({error}); {remedy}') from error
    if min(box[2:]) < 1:
        raise VideoError(f'--select: no box was drawn; draw one, or {remedy}')
    return [float(value) for value in box]


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

    def add(self, frame: np.ndarray, box: np.ndarray, text: str) -> None:
        """Append a frame, RGB uint8 [H, W, 3], with its box or boxes and a text in the corner."""
        if self._writer is None:
            self._size = frame.shape[1], frame.shape[0]
            self._writer = open_mp4(self._draft, self._fps, frame)
        picture = annotate(frame, box, text)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is None:
            raise VideoError(f'{self.path}: no frame was written')
        self._writer.release()
        os.replace(self._draft, self.path)


def annotate(frame: np.ndarray, box: np.ndarray, text: str) -> np.ndarray:
    """Return a copy of a frame, RGB uint8 [H, W, 3], with boxes and a line of text drawn in.

    A box [4] or several [K, 4] in pixels, each of which has its colour.
    """
    unit, boxes = max(1, round(min(frame.shape[:2]) / 240)), np.atleast_2d(box)
    colors = [_COLOR, *(line_color(target) for target in range(len(boxes) - 1))]
    picture = draw_boxes(frame, to_corners(boxes), colors, width=2 * unit)
    return write_texts(picture, [(0, 0, text)], [(0, 0, 0)]) if text else picture
