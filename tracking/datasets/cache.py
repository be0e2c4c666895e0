"""Tables that were built before are opened; what has changed since is noticed."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.logging import print_log

from .stores import Stamp
from .table import BadTable, Packed, SequenceTable, open_table, write_table

WARNING = 30
_WARNED: set[str] = set()


def default_cache() -> Path:
    """Return ``$LIGHTVIT_CACHE``, else ``~/.cache/lightvit_dense``."""
    given = os.environ.get('LIGHTVIT_CACHE')
    return Path(given).expanduser() if given else Path.home() / '.cache' / 'lightvit_dense'


def fingerprint(keys: Sequence[str], stamps: Sequence[Stamp], others: Sequence[str] = ()) -> str:
    """Return what differs as soon as a file is added, removed or written again."""
    files = (f'{key}\t{size}\t{time}' for key, (size, time) in zip(keys, stamps, strict=True))
    return hashlib.sha256('\n'.join((*files, '', *others)).encode()).hexdigest()


def cached_table(
    folder: Path, title: str, identity: str, mark: str, build: Callable[[], Packed]
) -> SequenceTable:
    """Return a table: the one kept in a folder if nothing has changed, else a new one.

    ``identity`` is what it is of (path of the data, split and options), ``mark`` its
    :func:`fingerprint`. Processes that ask for the same table wait for the first of them; where
    nothing can be written, it is built in memory.
    """
    path = folder / f'{title}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.index'
    found = _open(path, mark)
    if found is not None:
        return found
    with _turn(path) as alone:
        found = _open(path, mark) if alone else None
        if found is not None:
            return found
        arrays, meta = build()
        meta = {**meta, 'fingerprint': mark, 'identity': identity}
        if alone:
            try:
                write_table(path, arrays, meta)
                return open_table(path)
            except (OSError, BadTable) as error:
                _warn(folder, error)
    return SequenceTable(arrays, meta)


def _open(path: Path, mark: str) -> SequenceTable | None:
    try:
        table = open_table(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, BadTable) as error:
        print_log(f'{error}; it is made anew', logger='current', level=WARNING)
        return None
    return table if table.meta.get('fingerprint') == mark else None


@contextmanager
def _turn(path: Path) -> Iterator[bool]:
    """Wait for other processes that build the same table; whether a table can be kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_suffix('.lock'), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        _warn(path.parent, error)
        yield False
        return
    try:
        # Without locks on this file system, each process builds; the last one's file stays.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(handle)


def _warn(folder: Path, error: Exception) -> None:
    if str(folder) in _WARNED:
        return
    _WARNED.add(str(folder))
    print_log(
        f'{folder}: the index of the sequences cannot be kept here ({error}); it is built anew by '
        'each process. Set cache_dir, or the environment variable LIGHTVIT_CACHE, to a folder that '
        'can be written.',
        logger='current',
        level=WARNING,
    )
