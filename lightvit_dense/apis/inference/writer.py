"""Save results while they come: pictures, videos, label maps, JSON."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.visualization import Color, rescale

from .painting import draw_result
from .results import Classification, Detections, Result, Segmentation, category_ids, coco_entries
from .sources import InferenceError, Picture

_JPEG_SIDE = 65500
"""Most pixels of a side in a JPEG file."""


class JsonList:
    """A JSON file with one list, written entry by entry; its name ends in ``.part`` till then."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + '.part')
        self._file: TextIO = open(self._part, 'w', encoding='utf-8')  # noqa: SIM115
        self._file.write('[')
        self._empty = True

    def add(self, entry: Any) -> None:
        """Append an entry."""
        self._file.write('\n' if self._empty else ',\n')
        self._file.write(json.dumps(entry))
        self._empty = False

    def close(self) -> None:
        """End the list and give the file its name."""
        if not self._file.closed:
            self._file.write('\n]\n')
            self._file.close()
            os.replace(self._part, self._path)


def open_mp4(path: Path, fps: float, frame: np.ndarray) -> cv2.VideoWriter:
    """Begin an MP4 file of frames of the size of this one [H, W, 3]."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InferenceError(f'{path}: cannot be written ({error})') from error
    code = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), code, fps, frame.shape[1::-1])
    if not writer.isOpened():
        raise InferenceError(
            f'{path}: cannot be written; either the folder is not writable, or this OpenCV cannot '
            'write MP4'
        )
    return writer


class ResultWriter:
    """Write results below a folder, in memory that does not grow with their number.

    * ``images.json``: ``id``, ``file_name``, ``height``, ``width`` of each picture, and its
      ``classes`` with their ``pixels`` (segmentation) or ``score`` (classification).
    * ``classes.json``: ``id`` and ``name`` of the classes.
    * ``detections.json``: objects as COCO's results; a picture's id is the number that its name is,
      as in COCO, else its name: pictures of sub-folders and a number's second picture have names.
    * ``labels/<name>.png``: class indices from 0, coloured with ``palette``.
    * With ``pictures``: ``pictures/<name>.jpg`` and ``videos/<name>.mp4``, results painted over.
    """

    def __init__(
        self,
        folder: str | Path,
        names: Sequence[str],
        colors: Sequence[Color],
        pictures: bool = True,
        palette: bool = False,
    ) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InferenceError(f'{folder}: cannot be made ({error.strerror})') from error
        self._names, self._colors = tuple(names), list(colors)
        self._pictures, self._palette = pictures, palette
        self._ids = category_ids(names)
        self._images = JsonList(self.folder / 'images.json')
        self._objects: JsonList | None = None
        self._numbers: set[int] = set()
        self._video: tuple[str, cv2.VideoWriter] | None = None

    def __enter__(self) -> 'ResultWriter':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, picture: Picture, result: Result) -> None:
        """Save what was found in a picture."""
        image_id: int | str = picture.name
        if picture.name.isdecimal() and int(picture.name) not in self._numbers:
            image_id = int(picture.name)
            self._numbers.add(image_id)
        entry: dict[str, Any] = dict(
            id=image_id,
            file_name=picture.path or picture.name,
            height=result.height,
            width=result.width,
        )
        if picture.frame is not None:
            entry |= dict(frame=picture.frame, seconds=picture.frame / picture.fps)
        if isinstance(result, Detections):
            if self._objects is None:
                self._objects = JsonList(self.folder / 'detections.json')
            for found in coco_entries(result, image_id, self._ids):
                self._objects.add(found)
        elif isinstance(result, Segmentation):
            entry['classes'] = [
                dict(id=result.names.index(name), name=name, pixels=pixels)
                for name, pixels in result.areas().items()
            ]
            self._write_labels(result)
        elif isinstance(result, Classification):
            entry['classes'] = [dict(name=name, score=score) for name, score in result.top()]
        self._images.add(entry)
        if self._pictures:
            self._paint(picture, result)

    def close(self) -> None:
        """Finish all files."""
        if self._video is not None:
            self._video[1].release()
            self._video = None
        self._images.close()
        if self._objects is not None:
            self._objects.close()
        first = self._ids if self._objects is not None else range(len(self._names))
        classes = [dict(id=i, name=name) for i, name in zip(first, self._names, strict=True)]
        text = json.dumps(classes, indent=1)
        (self.folder / 'classes.json').write_text(text + '\n', encoding='utf-8')

    def _write_labels(self, result: Segmentation) -> None:
        path = self.folder / 'labels' / f'{result.name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(result.label_map)
        if self._palette and result.label_map.dtype == np.uint8:
            image.putpalette(bytes(np.asarray(self._colors, np.uint8).ravel()))
        image.save(path)

    def _paint(self, picture: Picture, result: Result) -> None:
        painted = draw_result(picture.pixels, result, self._colors)
        if picture.frame is not None:
            self._frame_writer(picture).write(cv2.cvtColor(painted, cv2.COLOR_RGB2BGR))
            return
        path = self.folder / 'pictures' / f'{picture.name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        painted = rescale(painted, min(1, _JPEG_SIDE / max(painted.shape[:2])))
        Image.fromarray(painted).save(path, quality=92)

    def _frame_writer(self, picture: Picture) -> cv2.VideoWriter:
        """Return the writer of a frame's video; there is one at a time."""
        name = picture.name.rpartition('/')[0]
        if self._video is None or self._video[0] != name:
            if self._video is not None:
                self._video[1].release()
            path = self.folder / 'videos' / f'{name}.mp4'
            self._video = name, open_mp4(path, picture.fps, picture.pixels)
        return self._video[1]
