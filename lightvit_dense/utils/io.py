"""Files: written whole or not at all, read as text whoever wrote them, and their hashes."""

import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block succeeds.

    The bytes are on the disk before the name changes, so that a killed process leaves either the
    old file or the new one, never a part. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; the result shall have the permissions of any other file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
        with suppress(OSError):  # some file systems cannot sync a folder
            _sync(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: str | os.PathLike, content: bytes) -> None:
    """Write bytes so that the file is whole or absent, see :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Hold a lock file, which stays, for one process at a time; the lock dies with its process."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def decode_text(data: bytes, where: str | os.PathLike) -> str:
    """Decode UTF-8, with a byte order mark or without; the error names the file and the line."""
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise UserError(
            f'{where}, line {line}: is not UTF-8 text ({error.reason}). Save the file as UTF-8.'
        ) from error


def read_text(path: str | os.PathLike) -> str:
    """Read a text file, see :func:`decode_text`."""
    return decode_text(Path(path).read_bytes(), path)


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write plain data as JSON, scalars of torch and NumPy too; NaN and infinity become null."""
    text = json.dumps(_to_plain(content), indent=2, allow_nan=False)
    atomic_write(path, f'{text}\n'.encode())


def _to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str)) else _to_plain(float(value))


_CLUTTER = ('__MACOSX', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')


def is_clutter(name: str) -> bool:
    """Tell whether a name is hidden, or left by an operating system: '._1.png', '__MACOSX'."""
    return name.startswith('.') or name in _CLUTTER
