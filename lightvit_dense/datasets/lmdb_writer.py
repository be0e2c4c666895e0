"""Write a folder into an LMDB: many readers, one writer, and nothing lost when it is interrupted.

Files are written in the order of their paths, a batch a transaction, together with how far the
writer has come. What a transaction has committed outlives a killed process and a power failure, so
the next run goes on behind it.
"""

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb

from .errors import DatasetError
from .lmdb_format import (
    HASH_BYTES,
    KEYS,
    META,
    LmdbMeta,
    combined_digest,
    hash_key,
    is_reserved,
    listing_digest,
    pack_keys,
    read_hashes,
    read_keys,
    read_meta,
)
from .storage import data_file, open_environment
from .unlabeled import EXTENSIONS

FIRST_MAP = 1 << 26
BATCH_BYTES, BATCH_FILES = 1 << 26, 4096
_AHEAD = 8  # files read ahead, for each reader

Report = Callable[[str, int, int], None]
"""Told ('write' or 'verify', files done, files in all) now and then."""


class LmdbWriteError(DatasetError):
    """An LMDB that could not be written or does not hold what it should."""


@dataclass(frozen=True)
class LmdbReport:
    """What a conversion did."""

    meta: LmdbMeta  # what the LMDB holds
    resumed: int  # files that were there already
    size: int  # size of the file in bytes


def list_files(
    source: str | os.PathLike, extensions: Sequence[str] | None = EXTENSIONS
) -> list[str]:
    """List the files below a folder, links to folders included."""
    root = Path(source)
    if not root.is_dir():
        raise DatasetError(f'{root}: this folder does not exist')
    endings = None if extensions is None else tuple(e.lower() for e in extensions)
    found, pending = [], ['']
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(source, folder)) as entries:
            for entry in entries:
                if entry.name.startswith('.') or entry.name in ('data.mdb', 'lock.mdb'):
                    continue
                path = f'{folder}/{entry.name}' if folder else entry.name
                if entry.is_dir():
                    pending.append(path)
                elif endings is None or entry.name.lower().endswith(endings):
                    found.append(path)
    if not found:
        kinds = 'file' if endings is None else f'file with an ending of {", ".join(endings)}'
        raise DatasetError(f'{root}: holds no {kinds}')
    return sorted(found)


def write_lmdb(
    source: str | os.PathLike,
    target: str | os.PathLike,
    extensions: Sequence[str] | None = EXTENSIONS,
    readers: int = 8,
    report: Report | None = None,
    verify: bool = True,
    batch_bytes: int = BATCH_BYTES,
) -> LmdbReport:
    """Write the files of a folder into an LMDB, or go on where an interrupted run stopped."""
    target = Path(target)
    keys = list_files(source, extensions)
    tell = report or (lambda *_: None)
    with _alone(target), _environment(target) as environment:
        _check_keys(keys, environment.max_key_size())
        meta = _begin(environment, target, keys)
        resumed = meta.written
        tell('write', meta.written, meta.count)
        with ThreadPoolExecutor(readers) as pool:
            try:
                for batch in _batches(pool, Path(source), keys, meta.written, readers, batch_bytes):
                    meta = _commit(environment, target, meta, keys, batch)
                    tell('write', meta.written, meta.count)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if not meta.complete:
            meta = _finish(environment, target, meta)
        if verify:
            _verify(environment, target, meta, readers, tell)
    return LmdbReport(meta, resumed, data_file(target).stat().st_size)


def verify_lmdb(
    path: str | os.PathLike, readers: int = 8, report: Report | None = None
) -> LmdbReport:
    """Read an LMDB of ours from end to end and compare it with its hashes."""
    environment = open_environment(os.fspath(path))
    try:
        with environment.begin() as transaction:
            meta = read_meta(transaction)
        if meta is None:
            raise LmdbWriteError(f'{path}: was not made by make_lmdb.py and has no hashes')
        if not meta.complete:
            raise LmdbWriteError(
                f'{path}: holds {meta.written} of {meta.count} files; run make_lmdb.py again, it '
                'goes on where it stopped'
            )
        _verify(environment, Path(path), meta, readers, report or (lambda *_: None))
    finally:
        environment.close()
    return LmdbReport(meta, meta.count, data_file(path).stat().st_size)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Make the folder, and keep other writers out of it."""
    remedy = 'nothing was touched; move it away or choose another folder'
    if target.exists() and not target.is_dir():
        raise LmdbWriteError(f'{target} is a file; {remedy}')
    foreign = sorted(p.name for p in target.glob('*') if p.name not in ('data.mdb', 'lock.mdb'))
    if foreign:
        raise LmdbWriteError(f'{target} holds something besides an LMDB, {foreign[:5]}; {remedy}')
    target.mkdir(parents=True, exist_ok=True)
    handle = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LmdbWriteError(f'{target}: another process is writing this LMDB') from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _environment(target: Path) -> Iterator[lmdb.Environment]:
    file = data_file(target)
    if file.exists() and file.stat().st_size:
        open_environment(str(target)).close()  # damaged files are told apart there
    size = max(FIRST_MAP, 2 * file.stat().st_size if file.exists() else 0)
    try:
        environment = lmdb.open(str(target), map_size=size, meminit=False)
    except lmdb.Error as error:
        raise LmdbWriteError(f'{target}: cannot be opened for writing ({error})') from error
    try:
        yield environment
    finally:
        environment.close()


def _check_keys(keys: Sequence[str], limit: int) -> None:
    for key in keys:
        try:
            code = key.encode()
        except UnicodeEncodeError as error:
            raise LmdbWriteError(f'{key!r}: this name is not UTF-8; rename the file') from error
        if len(code) > limit:
            raise LmdbWriteError(f'{key}: a path has {limit} bytes at most, this one {len(code)}')
        if is_reserved(code) or '\n' in key:
            raise LmdbWriteError(f'{key!r}: no file may have this name here; rename it')


def _begin(environment: lmdb.Environment, target: Path, keys: list[str]) -> LmdbMeta:
    """Return how far an earlier run came, or start a new LMDB."""
    with environment.begin() as transaction:
        meta = read_meta(transaction)
        listed = [] if meta is None else read_keys(transaction)
    if meta is None:
        if environment.stat()['entries']:
            raise LmdbWriteError(
                f'{target} is an LMDB of another program; nothing was touched; move it away or '
                'choose another folder'
            )
        meta = LmdbMeta(len(keys), 0, 0, listing_digest(keys))
        _put(environment, target, meta, [(KEYS, pack_keys(keys)), (META, meta.pack())])
    elif meta.listing != listing_digest(keys):
        gone, new = set(listed) - set(keys), set(keys) - set(listed)
        raise LmdbWriteError(
            f'{target} was begun with other files: {len(new)} are new now, such as '
            f'{sorted(new)[:2]}, {len(gone)} are gone, such as {sorted(gone)[:2]}. Give the same '
            'source and extensions, or another target.'
        )
    return meta


Item = tuple[bytes, bytes]
"""A file's content and its hash."""


def _read(path: Path) -> Item:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LmdbWriteError(f'{path}: cannot be read ({error.strerror})') from error
    return content, hashlib.sha256(content).digest()


def _batches(
    pool: ThreadPoolExecutor,
    source: Path,
    keys: Sequence[str],
    start: int,
    readers: int,
    batch_bytes: int,
) -> Iterator[list[Item]]:
    """Read ahead, in order; what was read is handed out even when the next file fails."""
    pending: deque[Future[Item]] = deque()
    batch: list[Item] = []
    weight, place = 0, start
    while pending or place < len(keys):
        while place < len(keys) and len(pending) < readers * _AHEAD:
            pending.append(pool.submit(_read, source / keys[place]))
            place += 1
        try:
            item = pending.popleft().result()
        except LmdbWriteError:
            if batch:
                yield batch
            raise
        batch.append(item)
        weight += len(item[0])
        if weight >= batch_bytes or len(batch) >= BATCH_FILES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _commit(
    environment: lmdb.Environment,
    target: Path,
    meta: LmdbMeta,
    keys: Sequence[str],
    batch: Sequence[Item],
) -> LmdbMeta:
    """Write a batch and how far that is, in one transaction."""
    first = meta.written
    after = replace(
        meta,
        written=first + len(batch),
        size=meta.size + sum(len(content) for content, _ in batch),
    )
    entries = [(keys[first + i].encode(), content) for i, (content, _) in enumerate(batch)]
    entries.append((hash_key(first), b''.join(digest for _, digest in batch)))
    entries.append((META, after.pack()))
    _put(environment, target, meta, entries)
    return after


def _put(
    environment: lmdb.Environment,
    target: Path,
    meta: LmdbMeta,
    entries: Iterable[tuple[bytes, bytes]],
) -> None:
    """Write entries in one transaction; the map grows as often as it is full."""
    entries = list(entries)
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in entries:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()['map_size'])
        except (lmdb.Error, OSError) as error:
            free = os.statvfs(target)
            raise LmdbWriteError(
                f'{target}: cannot be written ({error}; {free.f_bavail * free.f_frsize >> 20} MiB '
                f'are free on this disk). The {meta.written} of {meta.count} files written so far '
                'are safe: make room and run the same command again.'
            ) from error


def _finish(environment: lmdb.Environment, target: Path, meta: LmdbMeta) -> LmdbMeta:
    with environment.begin() as transaction:
        hashes = read_hashes(transaction)
    done = replace(meta, complete=True, sha256=combined_digest(hashes))
    _put(environment, target, meta, [(META, done.pack())])
    return done


def _verify(
    environment: lmdb.Environment, target: Path, meta: LmdbMeta, readers: int, tell: Report
) -> None:
    """Compare counts, keys, and every value with its hash."""
    with environment.begin() as transaction:
        keys, hashes = read_keys(transaction), read_hashes(transaction)
        extra = len(list(_hash_keys(transaction)))
        entries = environment.stat()['entries']
    expected = meta.count + extra + 2
    if not len(keys) == meta.count == len(hashes) // HASH_BYTES or entries != expected:
        raise LmdbWriteError(
            f'{target}: has {entries} entries instead of {expected}, {len(keys)} paths and '
            f'{len(hashes) // HASH_BYTES} hashes for {meta.count} files. Make it again.'
        )
    if combined_digest(hashes) != meta.sha256 or listing_digest(keys) != meta.listing:
        raise LmdbWriteError(f'{target}: its list of paths or of hashes is damaged. Make it again.')

    def check(first: int) -> list[str]:
        bad = []
        with environment.begin(buffers=True) as transaction:
            for place in range(first, min(first + 256, meta.count)):
                value = transaction.get(keys[place].encode())
                due = hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
                if value is None or hashlib.sha256(value).digest() != due:
                    bad.append(keys[place])
        return bad

    wrong: list[str] = []
    with ThreadPoolExecutor(readers) as pool:
        for number, found in enumerate(pool.map(check, range(0, meta.count, 256)), 1):
            wrong += found
            tell('verify', min(number * 256, meta.count), meta.count)
    if wrong:
        raise LmdbWriteError(
            f'{target}: {len(wrong)} of {meta.count} files differ from their hashes, such as '
            f'{wrong[:3]}. Make it again.'
        )


def _hash_keys(transaction: lmdb.Transaction) -> Iterator[bytes]:
    cursor = transaction.cursor()
    if cursor.set_range(hash_key(0)):
        for key in cursor.iternext(values=False):
            if not is_reserved(bytes(key)):
                return
            yield bytes(key)
