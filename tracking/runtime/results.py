"""Result files of trackers: one text file a sequence, in LaSOT's or in GOT-10k's layout.

* ``lasot``: ``<folder>/<sequence>.txt``, the seconds of each frame in ``<sequence>_time.txt``.
* ``got10k``, what its server takes: ``<folder>/<sequence>/<sequence>_001.txt`` and
  ``<sequence>/<sequence>_time.txt``.

A line is a frame: ``x,y,width,height`` in pixels, the first the box that the tracker was given.
"""

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_path, atomic_write

LAYOUTS = ('lasot', 'got10k')
_DECIMALS = 4
# Toolkits separate by commas, tabs or blanks.
_SEPARATORS = str.maketrans(',;\t', '   ')


class ResultError(UserError):
    """A result file that cannot be used; the message names it and the remedy."""


def result_path(folder: str | Path, name: str, layout: str = 'lasot') -> Path:
    """Return where the boxes of a sequence are written.

    Args:
        folder: Folder of a tracker's results.
        name: Name of the sequence.
        layout: 'lasot' or 'got10k'.

    Raises:
        ResultError: If the layout is unknown or the name would leave the folder.
    """
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
    """Write the boxes of a sequence; the file is whole or absent.

    Args:
        folder: Folder of a tracker's results; made if it is not there.
        name: Name of the sequence.
        boxes: x, y, width, height [T, 4] in pixels; rounded to 4 decimals.
        seconds: What each frame took [T]; None writes no times.
        layout: 'lasot' or 'got10k'.

    Returns:
        The file.

    Raises:
        ResultError: If the boxes are no [T, 4] of numbers or the times are not [T].
    """
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
    """Return the line of a box, with its end."""
    return ','.join(map(_number, box)) + '\n'


def _number(value: float) -> str:
    text = f'{value:.{_DECIMALS}f}'.rstrip('0').rstrip('.')
    return '0' if text in ('-0', '') else text


def read_result(path: str | Path, check: bool = True) -> np.ndarray:
    """Read the boxes of a sequence.

    Args:
        path: Text file of x, y, width, height, separated by commas, semicolons, tabs or blanks.
        check: Whether numbers that are not finite and negative sizes are errors.

    Returns:
        float64 [T, 4].

    Raises:
        ResultError: Naming file and line, if there is anything else in it, a number that is not
            finite, or a negative width or height.
    """
    text = _read(path)
    boxes = _table(path, text, 4)
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if check and bad.any():
        line = int(np.flatnonzero(bad)[0])
        what = (
            'a negative size' if np.isfinite(boxes[line]).all() else 'a number that is not finite'
        )
        numbers = [n for n, row in enumerate(text.split('\n'), 1) if row.strip()]
        raise ResultError(
            f'{path}, line {numbers[line]}: a {what} in {boxes[line].tolist()}; a tracker has to '
            'give a box in every frame'
        )
    return boxes


def read_seconds(path: str | Path) -> np.ndarray | None:
    """Read what each frame took.

    Args:
        path: File of the boxes; the times are beside it.

    Returns:
        float64 [T] (of several repetitions the first), None if there is no file of times.

    Raises:
        ResultError: If the file is damaged.
    """
    file = time_path(path)
    return _table(file, _read(file), None)[:, 0] if file.is_file() else None


def is_complete(path: str | Path, length: int) -> bool:
    """Return whether a result file is there and whole.

    Args:
        path: File of the boxes.
        length: Number of frames of the sequence.
    """
    path = Path(path)
    if not path.is_file():
        return False
    try:
        # Without its last newline the last number may be cut.
        return _read(path).endswith('\n') and len(read_result(path)) == length
    except ResultError:
        return False


def write_submission(folder: str | Path, names: Iterable[str], path: str | Path) -> Path:
    """Pack results in GOT-10k's layout into the archive that its server takes.

    Args:
        folder: Folder of a tracker's results.
        names: Names of the sequences.
        path: The archive, a zip file.

    Returns:
        The archive.

    Raises:
        ResultError: If a result is missing.
    """
    files = []
    for name in names:
        result = result_path(folder, name, 'got10k')
        if not result.is_file():
            raise ResultError(f'{result} does not exist: run the tracker on all sequences first')
        files += [file for file in (result, time_path(result)) if file.is_file()]
    with (
        atomic_path(path) as draft,
        zipfile.ZipFile(draft, 'w', zipfile.ZIP_DEFLATED) as archive,
    ):
        for file in files:
            archive.write(file, file.relative_to(folder).as_posix())
    return Path(path)


def _read(path: str | Path) -> str:
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f'{path}: cannot be read ({error})') from error
    if not text.strip():
        raise ResultError(f'{path}: is empty; delete it and run the tracker again')
    return text


def _table(path: str | Path, text: str, columns: int | None) -> np.ndarray:
    """Parse lines of numbers; the fast way, and on failure line by line to tell which."""
    plain = text.translate(_SEPARATORS)
    try:
        table = np.loadtxt(io.StringIO(plain), np.float64, comments=None, ndmin=2)
        if columns in (None, table.shape[1]):
            return table
    except ValueError:
        pass
    for number, line in enumerate(plain.split('\n'), 1):
        words = line.split()
        try:
            if words and len([float(word) for word in words]) != columns:
                raise ValueError
        except ValueError:
            expected = f'{columns} numbers (x, y, width, height)' if columns else 'numbers'
            raise ResultError(
                f'{path}, line {number}: expected {expected}, found {line.strip()[:60]!r}'
            ) from None
    raise ResultError(f'{path}: is no table of numbers')
