"""Where the bytes of files come from; keys are paths relative to the root, in UTF-8."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import lmdb

from .errors import DatasetError
from .lmdb_format import KEYS, LmdbMeta, is_reserved, key_text, read_meta, unpack_keys
from .packed import PackedStorage


class Storage(Protocol):
    """What a dataset hands to the loading transform."""

    def read(self, key: str) -> bytes:
        """Return a file; FileNotFoundError names a key that is not there."""
        ...


def read_file(path: str) -> bytes:
    """Return a file of a disk; FileNotFoundError names one that is not there."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist') from None


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return the paths that do not exist; a folder is listed once, not asked for every file."""
    there: dict[str, set[str]] = {}
    lacking = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in there:
            there[folder] = (
                set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
            )
        if name not in there[folder]:
            lacking.append(path)
    return lacking


class FolderStorage:
    """Files of a folder; keys are paths below it, or absolute ones."""

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = os.fspath(root)

    def read(self, key: str) -> bytes:
        """Return a file."""
        return read_file(os.path.join(self.root, key))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.root!r})'


class _Environments:
    """The LMDBs that this process has open, each once; a forked worker opens its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = os.getpid()
        self.known: dict[str, lmdb.Environment] = {}

    def get(self, path: str) -> lmdb.Environment:
        if os.getpid() != self.owner:
            self.restart()
        found = self.known.get(path)
        if found is not None:
            return found
        with self.lock:
            if path not in self.known:
                self.known[path] = open_environment(path)
            return self.known[path]

    def restart(self) -> None:
        """Begin anew in a forked process."""
        # Another thread of the parent may have held the lock when it forked.
        self.lock, self.owner = threading.Lock(), os.getpid()
        inherited, self.known = self.known, {}
        for environment in inherited.values():
            environment.close()

    def close(self, path: str) -> None:
        with self.lock:
            if path in self.known and os.getpid() == self.owner:
                self.known.pop(path).close()


_ENVIRONMENTS = _Environments()
os.register_at_fork(after_in_child=_ENVIRONMENTS.restart)


def data_file(path: str | os.PathLike) -> Path:
    """Return the file of an LMDB: itself, or ``data.mdb`` in its folder."""
    path = Path(path)
    return path / 'data.mdb' if path.is_dir() else path


def open_environment(path: str) -> lmdb.Environment:
    """Open an LMDB for any number of readers, without locks, also where nothing can be written."""
    file = data_file(path)
    if not file.is_file():
        raise DatasetError(
            f'{path}: this LMDB does not exist. Make it by tools/dataset_converters/make_lmdb.py, '
            "or set source='folder' of the dataset."
        )
    remedy = 'Copy it again, or make it again by tools/dataset_converters/make_lmdb.py.'
    size = file.stat().st_size
    if size == 0:
        raise DatasetError(f'{file}: this LMDB is empty (zero bytes). {remedy}')
    try:
        environment = lmdb.open(
            str(path),
            subdir=os.path.isdir(path),
            readonly=True,
            create=False,
            lock=False,
            readahead=False,
            meminit=False,
        )
    except lmdb.InvalidError as error:
        raise DatasetError(f'{file}: is not an LMDB, or damaged ({error}). {remedy}') from error
    except lmdb.Error as error:
        if 'already open' in str(error):
            raise DatasetError(
                f'{path}: other code of this process has opened this LMDB, and LMDB does not allow '
                'that twice. Close it there, or read it through LmdbStorage, which shares it.'
            ) from error
        raise DatasetError(f'{path}: this LMDB cannot be opened ({error}). {remedy}') from error
    # Reading a page beyond the end of the file would kill the process by SIGBUS.
    due = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    if size < due:
        environment.close()
        raise DatasetError(
            f'{file}: this LMDB is truncated, {size} bytes of {due}. {remedy} '
            '(One that is whole but for unused pages at its end is mended by mdb_copy -c.)'
        )
    return environment


class LmdbStorage:
    """Files in an LMDB, opened when first read, once a process; may be pickled and forked."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.path.realpath(path)

    def _open(self) -> lmdb.Environment:
        return _ENVIRONMENTS.get(self.path)

    def read(self, key: str) -> bytes:
        """Return a file."""
        with self._open().begin() as transaction:
            value = _get(transaction, key)
        if value is None:
            raise FileNotFoundError(f'{self.path} has no key {key!r}')
        return value

    def meta(self) -> LmdbMeta | None:
        """Return what the converter noted, None when another program made the file."""
        with self._open().begin() as transaction:
            return read_meta(transaction)

    def keys(self, prefix: str = '') -> Iterator[str]:
        """Iterate over the keys in the order of their bytes, without touching the values."""
        with self._open().begin() as transaction:
            meta = read_meta(transaction)
            if meta is None:
                yield from _scan(transaction, prefix)
                return
            if not meta.complete:
                raise DatasetError(
                    f'{self.path}: holds {meta.written} of {meta.count} files, its conversion was '
                    'interrupted. Run tools/dataset_converters/make_lmdb.py with the same '
                    'arguments again; it goes on where it stopped.'
                )
            packed = bytes(transaction.get(KEYS) or b'')
        for name in unpack_keys(packed):
            if name.startswith(prefix):
                yield name

    def exists(self, key: str) -> bool:
        """Whether there is such a key; its value is not touched."""
        with self._open().begin(buffers=True) as transaction:
            return _get(transaction, key) is not None

    def children(self, folder: str = '') -> list[str]:
        """Return the names in a folder, sorted; what lies deeper is leapt over."""
        prefix = f'{folder}/'.encode() if folder else b''
        found = set()
        with self._open().begin(buffers=True) as transaction:
            cursor = transaction.cursor()
            more = cursor.set_range(prefix or b'\0')
            while more:
                key = bytes(cursor.key())
                if not key.startswith(prefix):
                    break
                name, slash, _ = key[len(prefix) :].partition(b'/')
                if not is_reserved(key):
                    found.add(key_text(name))
                more = cursor.set_range(prefix + name + b'0') if slash else cursor.next()
        return sorted(found)

    def close(self) -> None:
        """Close the file in this process; reading opens it again."""
        _ENVIRONMENTS.close(self.path)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.path!r})'


def open_storage(
    source: str, root: str | os.PathLike, lmdb_path: str, packed_path: str, cache_gb: float
) -> FolderStorage | LmdbStorage | PackedStorage:
    """Return where the files of a data set come from: its folder, or what was made of it below."""
    if source not in ('folder', 'lmdb', 'packed'):
        raise ValueError(f"source must be 'folder', 'lmdb' or 'packed', got {source!r}")
    if cache_gb and source != 'packed':
        raise ValueError(f"cache_gb={cache_gb} goes with source='packed', got source={source!r}")
    if source == 'packed':
        return PackedStorage(os.path.join(root, packed_path), cache_gb)
    return LmdbStorage(os.path.join(root, lmdb_path)) if source == 'lmdb' else FolderStorage(root)


def _get(transaction: lmdb.Transaction, key: str) -> bytes | None:
    try:
        return transaction.get(key.encode())  # type: ignore[return-value]
    except lmdb.BadValsizeError:  # no key is as long, or as short
        return None


def _scan(transaction: lmdb.Transaction, prefix: str) -> Iterator[str]:
    """Walk over the keys of a foreign LMDB."""
    cursor = transaction.cursor()
    if cursor.set_range(prefix.encode() or b'\0'):
        for key in cursor.iternext(values=False):
            name = key_text(bytes(key))
            if not name.startswith(prefix):
                return
            yield name
