"""Result files of trackers: one text file a sequence, in LaSOT's or in GOT-10k's layout.

* ``lasot``: ``<folder>/<sequence>.txt``, the seconds of each frame in ``<sequence>_time.txt``.
* ``got10k``, what its server takes: ``<folder>/<sequence>/<sequence>_001.txt`` and
  ``<sequence>/<sequence>_time.txt``.

A line is a frame: ``x,y,width,height`` in pixels, the first the box that the tracker was given.
"""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_path, atomic_write

from ..datasets.text import parse_rows

LAYOUTS = ('lasot', 'got10k')
SUBMISSIONS = {'got10k': 'got10k', 'trackingnet': 'lasot'}
"""Servers that take a zip file of results, and the layout that it is packed from."""


class ResultError(UserError):
    """A result file that cannot be used; the message names it and the remedy."""


def result_path(folder: str | Path, name: str, layout: str = 'lasot') -> Path:
    """Return where the boxes of a sequence are written, in a layout, below a tracker's folder."""
    if layout not in LAYOUTS:
        raise ResultError(f'layout {layout!r} of results is not one of {", ".join(LAYOUTS)}')
    if not name or Path(name).is_absolute() or '..' in Path(name).parts or '\\' in name:
        raise ResultError(f'{name!r} is no name of a sequence that a result file can be named by')
    stem = Path(name).name
    return Path(folder) / (f'{name}.txt' if layout == 'lasot' else f'{name}/{stem}_001.txt')


def time_path(path: str | Path) -> Path:
    """Return the file of a sequence's seconds, beside that of its boxes."""
    path = Path(path)
    got10k = path.stem == f'{path.parent.name}_001'
    return path.with_name(f'{path.parent.name if got10k else path.stem}_time.txt')


def find_result(folder: str | Path, name: str) -> Path | None:
    """Return the file of a sequence's boxes in whichever layout it is, None if there is none."""
    paths = (result_path(folder, name, layout) for layout in LAYOUTS)
    return next((path for path in paths if path.is_file()), None)


def write_result(
    folder: str | Path,
    name: str,
    boxes: np.ndarray,
    seconds: np.ndarray | None = None,
    layout: str = 'lasot',
) -> Path:
    """Write the boxes of a sequence [T, 4] and the seconds of its frames [T]; whole or not."""
    path = result_path(folder, name, layout)
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ResultError(f'{path}: boxes of shape {boxes.shape}, expected [frames, 4]')
    if not np.isfinite(boxes).all():
        frame = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise ResultError(f'{path}: the box of frame {frame} is not finite: {boxes[frame]}')
    if seconds is not None:
        seconds = np.asarray(seconds, np.float64)
        if seconds.shape != (len(boxes),):
            raise ResultError(f'{path}: times of shape {seconds.shape} for {len(boxes)} frames')
        text = ''.join(f'{value:.8f}\n' for value in seconds)
        # Before the boxes: they tell that the sequence is done.
        atomic_write(time_path(path), text.encode())
    atomic_write(path, ''.join(map(box_line, boxes)).encode())
    return path


def box_line(box: Sequence[float] | np.ndarray) -> str:
    """Return the line of a box, rounded to 4 decimals, with its end."""
    texts = (f'{value:.4f}'.rstrip('0').rstrip('.') for value in box)
    return ','.join('0' if text == '-0' else text for text in texts) + '\n'


def read_result(path: str | Path, check: bool = True) -> np.ndarray:
    """Read the boxes of a sequence, float64 [T, 4], apart by commas, semicolons, tabs or blanks.

    With ``check``, what is not finite or of negative size is an error that names file and line.
    """
    data = _read(path)
    boxes = _table(path, data, 4)
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if check and bad.any():
        row = int(bad.argmax())
        finite = np.isfinite(boxes[row]).all()
        what = 'negative size' if finite else 'number that is not finite'
        lines = [number for number, line in enumerate(data.split(b'\n'), 1) if line.strip()]
        raise ResultError(
            f'{path}, line {lines[row]}: a {what} in {boxes[row].tolist()}; a tracker has to '
            'give a box in every frame'
        )
    return boxes


def read_seconds(path: str | Path) -> np.ndarray | None:
    """Read what each frame took, float64 [T], for a file of boxes; None if it was not written."""
    file = time_path(path)
    return _table(file, _read(file), None)[:, 0] if file.is_file() else None


def is_complete(path: str | Path, length: int) -> bool:
    """Return whether the file of the boxes of a sequence of some length is there and whole."""
    path = Path(path)
    if not path.is_file():
        return False
    try:
        # Without its last newline the last number may be cut.
        return _read(path).endswith(b'\n') and len(read_result(path)) == length
    except ResultError:
        return False


def write_submission(
    folder: str | Path, names: Iterable[str], path: str | Path, server: str = 'got10k'
) -> Path:
    """Pack a tracker's results into the zip file that a server takes.

    GOT-10k's gets the layout 'got10k' with its times, TrackingNet's ``<sequence>.txt`` alone.
    """
    files = []
    for name in names:
        result = result_path(folder, name, SUBMISSIONS[server])
        if not result.is_file():
            raise ResultError(f'{result} does not exist: run the tracker on all sequences first')
        files.append(result)
        if server == 'got10k' and time_path(result).is_file():
            files.append(time_path(result))
    with atomic_path(path) as draft, zipfile.ZipFile(draft, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder).as_posix())
    return Path(path)


def _read(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ResultError(f'{path}: cannot be read ({error})') from error
    if not data.strip():
        raise ResultError(f'{path}: is empty; delete it and run the tracker again')
    return data


def _table(path: str | Path, data: bytes, columns: int | None) -> np.ndarray:
    try:
        return parse_rows(data, str(path), columns, skip_blank=True)
    except DatasetError as error:
        raise ResultError(str(error)) from error
