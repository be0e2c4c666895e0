"""Result files of trackers: one text file a sequence, in LaSOT's or in GOT-10k's layout.

* ``lasot``: ``<folder>/<sequence>.txt``, beside it ``<sequence>_time.txt`` with the seconds of
  each frame, and ``<sequence>_score.txt`` with its score and perhaps 1 where the target is lost.
* ``got10k``, what its server takes: ``<folder>/<sequence>/<sequence>_001.txt`` and
  ``<sequence>/<sequence>_time.txt``, ``<sequence>_score.txt``.

A line is a frame: ``x,y,width,height`` in pixels, the first the box that the tracker was given.
"""

import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_path, atomic_write

from ..datasets.text import clean, parse_rows

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


def side_path(path: str | Path, name: str, kind: str = 'time') -> Path:
    """Return the file of a sequence's seconds ('time') or 'score', beside that of its boxes."""
    return Path(path).with_name(f'{Path(name).name}_{kind}.txt')


def check_names(names: Iterable[str], layout: str = 'lasot', anywhere: bool = True) -> None:
    """Check that no two sequences share a file of results, such as 'walk' and 'walk_time'.

    With ``anywhere`` names that differ in case alone are refused, too, for other file systems.
    """
    owners: dict[str, str] = {}
    for name in names:
        path = result_path('', name, layout)
        for file in (path, side_path(path, name), side_path(path, name, 'score')):
            key = unicodedata.normalize('NFC', str(file)).casefold() if anywhere else str(file)
            other = owners.setdefault(key, name)
            if other != name:
                raise ResultError(
                    f'the sequences {other!r} and {name!r} share {file}, a file of their results; '
                    'rename one of them'
                )


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
    scores: np.ndarray | None = None,
    lost_below: float | None = None,
) -> Path:
    """Write the boxes of a sequence [T, 4], seconds and scores of its frames [T]; whole or not.

    With ``lost_below`` a second column tells by 1 where the score is below it.
    """
    path = result_path(folder, name, layout)
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ResultError(f'{path}: boxes of shape {boxes.shape}, expected [frames, 4]')
    if not np.isfinite(boxes).all():
        frame = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise ResultError(f'{path}: the box of frame {frame} is not finite: {boxes[frame]}')
    for kind, values in (('time', seconds), ('score', scores)):
        if values is None:
            continue
        values = np.asarray(values, np.float64)
        if values.shape != (len(boxes),):
            raise ResultError(f'{path}: {kind}s of shape {values.shape} for {len(boxes)} frames')
        lines = [f'{value:.8f}' for value in values]
        if kind == 'score' and lost_below is not None:
            lines = [f'{value:.8f},{value < lost_below:d}' for value in values]
        # Before the boxes: they tell that the sequence is done.
        atomic_write(side_path(path, name, kind), ''.join(f'{line}\n' for line in lines).encode())
    atomic_write(path, ''.join(map(box_line, boxes)).encode())
    return path


def box_line(box: Sequence[float] | np.ndarray) -> str:
    """Return the line of a box, rounded to 4 decimals, with its end."""
    texts = (f'{value:.4f}'.rstrip('0').rstrip('.') for value in box)
    return ','.join('0' if text == '-0' else text for text in texts) + '\n'


def read_result(path: str | Path, check: bool = True, frames: int = 0) -> np.ndarray:
    """Read the boxes of a sequence, float64 [T, 4], apart by commas, semicolons, tabs or blanks.

    With ``check``, what is not finite or of negative size is an error that names file and line; so
    is a blank line where there are fewer boxes than ``frames``.
    """
    data = _read(path)
    boxes = _table(path, data, 4)
    lines = [number for number, line in enumerate(clean(data).split(b'\n'), 1) if line.strip()]
    blank = next((place for place, line in enumerate(lines, 1) if line != place), None)
    if blank and len(boxes) < frames:
        raise ResultError(
            f'{path}, line {blank}: is blank, and there are {len(boxes)} boxes for {frames} frames'
        )
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if check and bad.any():
        row = int(bad.argmax())
        finite = np.isfinite(boxes[row]).all()
        what = 'negative size' if finite else 'number that is not finite'
        raise ResultError(
            f'{path}, line {lines[row]}: a {what} in {boxes[row].tolist()}; a tracker has to '
            'give a box in every frame'
        )
    return boxes


def read_seconds(path: str | Path, name: str) -> np.ndarray | None:
    """Read what each frame of a sequence took, float64 [T]; None if it was not written.

    ``path`` is the file of its boxes.
    """
    file = side_path(path, name)
    return _table(file, _read(file), None)[:, 0] if file.is_file() else None


def is_complete(path: str | Path, length: int, begin: np.ndarray | None = None) -> bool:
    """Return whether the file of the boxes of a sequence of some length is there and whole.

    One that does not begin with the box ``begin`` of its sequence is an error.
    """
    path = Path(path)
    if not path.is_file():
        return False
    try:
        boxes = read_result(path)
    except ResultError:
        return False
    # Without its last newline the last number may be cut.
    whole = _read(path).endswith(b'\n') and len(boxes) == length
    if whole and begin is not None and not np.allclose(boxes[0], begin, rtol=0, atol=1e-3):
        raise ResultError(
            f'{path} begins with the box {boxes[0].tolist()} and its sequence with '
            f'{begin.tolist()}: it is of other data or of an older annotation. Delete it, or take '
            'another --name or --out'
        )
    return whole


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
        times = side_path(result, name)
        files += [result, times] if server == 'got10k' and times.is_file() else [result]
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
