"""Write a folder into an LMDB, a batch of files a transaction, so that a killed run goes on."""

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import lmdb

from . import lmdb_format as layout
from .errors import DatasetError
from .storage import data_file, open_environment
from .unlabeled import EXTENSIONS, scan_images

FIRST_MAP = 1 << 26
_OWN = ('data.mdb', 'lock.mdb')
BATCH_BYTES, BATCH_FILES = 1 << 26, 4096
_AHEAD = 8  # files read ahead, for each reader

Report = Callable[[str, int, int], None]
"""Told ('writing' or 'verifying', files done, files in all) now and then."""


@dataclass(frozen=True)
class LmdbReport:
    """What a conversion did."""

    meta: layout.LmdbMeta
    resumed: int  # files that were there already
    size: int  # size of the file in bytes


def list_files(
    source: str | os.PathLike, extensions: Sequence[str] | None = EXTENSIONS
) -> list[str]:
    """List the files below a folder, links to folders included, sorted; None takes any ending."""
    root = os.fspath(source).rstrip('/')
    if not os.path.isdir(root):
        raise DatasetError(f'{root}: this folder does not exist')
    endings = ('',) if extensions is None else tuple(e.lower() for e in extensions)
    paths = scan_images(root, endings)
    found = [path[len(root) + 1 :] for path in paths if os.path.basename(path) not in _OWN]
    if not found:
        kinds = 'file' if extensions is None else f'file with an ending of {", ".join(endings)}'
        raise DatasetError(f'{root}: holds no {kinds}')
    return found


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
    on_progress = report or (lambda *_: None)
    with alone(target, _OWN.__contains__, 'an LMDB'), _environment(target) as environment:
        check_keys(keys, environment.max_key_size())
        writer = _Writer(environment, target, keys)
        resumed = writer.meta.written
        on_progress('writing', resumed, len(keys))
        with ThreadPoolExecutor(readers) as pool:
            try:
                paths = (Path(source, key) for key in islice(keys, resumed, None))
                for batch in _batches(pool, paths, readers * _AHEAD, batch_bytes):
                    writer.commit(batch)
                    on_progress('writing', writer.meta.written, len(keys))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        writer.finish()
        if verify:
            _verify(environment, target, writer.meta, readers, on_progress)
    return LmdbReport(writer.meta, resumed, data_file(target).stat().st_size)


def verify_lmdb(
    path: str | os.PathLike, readers: int = 8, report: Report | None = None
) -> LmdbReport:
    """Read an LMDB of ours from end to end and compare it with its hashes."""
    environment = open_environment(os.fspath(path))
    try:
        with environment.begin() as transaction:
            meta = layout.read_meta(transaction)
        if meta is None:
            raise DatasetError(f'{path}: was not made by make_lmdb.py and has no hashes')
        if not meta.complete:
            raise DatasetError(
                f'{path}: holds {meta.written} of {meta.count} files; run make_lmdb.py again, it '
                'goes on where it stopped'
            )
        _verify(environment, Path(path), meta, readers, report or (lambda *_: None))
    finally:
        environment.close()
    return LmdbReport(meta, meta.count, data_file(path).stat().st_size)


@contextmanager
def alone(target: Path, is_own: Callable[[str], object], what: str) -> Iterator[None]:
    """Make the folder of a file set, and keep other writers out of it."""
    remedy = 'nothing was touched; move it away or choose another folder'
    if target.exists() and not target.is_dir():
        raise DatasetError(f'{target} is a file; {remedy}')
    foreign = sorted(p.name for p in target.glob('*') if not is_own(p.name))
    if foreign:
        raise DatasetError(f'{target} holds something besides {what}, {foreign[:5]}; {remedy}')
    target.mkdir(parents=True, exist_ok=True)
    handle = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f'{target}: another process is writing {what}') from None
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
        raise DatasetError(f'{target}: cannot be opened for writing ({error})') from error
    try:
        yield environment
    finally:
        environment.close()


def check_keys(keys: Sequence[str], limit: int) -> None:
    """Check that paths can be keys of at most ``limit`` bytes."""
    for key in keys:
        try:
            code = key.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(f'{key!r}: this name is not UTF-8; rename the file') from error
        if len(code) > limit:
            raise DatasetError(f'{key}: a path has {limit} bytes at most, this one {len(code)}')
        if layout.is_reserved(code) or '\n' in key:
            raise DatasetError(f'{key!r}: no file may have this name here; rename it')


Item = tuple[bytes, bytes]
"""A file's content and its hash."""


def _read(path: Path) -> Item:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read ({error.strerror})') from error
    return content, hashlib.sha256(content).digest()


def _batches(
    pool: ThreadPoolExecutor, paths: Iterator[Path], ahead: int, batch_bytes: int
) -> Iterator[list[Item]]:
    """Read ahead, in order; what was read is handed out even when the next file fails."""
    pending = deque(pool.submit(_read, path) for path in islice(paths, ahead))
    batch: list[Item] = []
    weight = 0
    while pending:
        try:
            item = pending.popleft().result()
        except DatasetError:
            if batch:
                yield batch
            raise
        pending.extend(pool.submit(_read, path) for path in islice(paths, 1))
        batch.append(item)
        weight += len(item[0])
        if weight >= batch_bytes or len(batch) >= BATCH_FILES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


class _Writer:
    """An LMDB that is being written, and how far it is: begun anew, or by an earlier run."""

    def __init__(self, environment: lmdb.Environment, target: Path, keys: list[str]) -> None:
        self.environment, self.target, self.keys = environment, target, keys
        with environment.begin() as transaction:
            meta = layout.read_meta(transaction)
            listed = [] if meta is None else layout.read_keys(transaction)
        self.meta = meta or layout.LmdbMeta(len(keys), 0, 0, layout.listing_digest(keys))
        if meta is None:
            if environment.stat()['entries']:
                raise DatasetError(
                    f'{target} is an LMDB of another program; nothing was touched; move it away '
                    'or choose another folder'
                )
            self._put([(layout.KEYS, layout.pack_keys(keys)), (layout.META, self.meta.pack())])
        elif meta.listing != layout.listing_digest(keys):
            gone, new = sorted(set(listed) - set(keys)), sorted(set(keys) - set(listed))
            raise DatasetError(
                f'{target} was begun with other files: {len(new)} are new now, such as {new[:2]}, '
                f'{len(gone)} are gone, such as {gone[:2]}. Give the same source and extensions, '
                'or another target.'
            )

    def commit(self, batch: Sequence[Item]) -> None:
        """Write a batch and how far that is, in one transaction."""
        first = self.meta.written
        size = self.meta.size + sum(len(content) for content, _ in batch)
        after = replace(self.meta, written=first + len(batch), size=size)
        keys = self.keys[first : after.written]
        entries = [(k.encode(), content) for k, (content, _) in zip(keys, batch, strict=True)]
        entries.append((layout.HASHES + b'%012d' % first, b''.join(digest for _, digest in batch)))
        self._put([*entries, (layout.META, after.pack())])
        self.meta = after

    def finish(self) -> None:
        """Note that all is there, and the hash of all hashes."""
        if self.meta.complete:
            return
        with self.environment.begin() as transaction:
            digest = hashlib.sha256(b''.join(layout.read_hashes(transaction))).hexdigest()
        self.meta = replace(self.meta, complete=True, sha256=digest)
        self._put([(layout.META, self.meta.pack())])

    def _put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries in one transaction; the map grows as often as it is full."""
        while True:
            try:
                with self.environment.begin(write=True) as transaction:
                    for key, value in entries:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                self.environment.set_mapsize(2 * self.environment.info()['map_size'])
            except (lmdb.Error, OSError) as error:
                free = os.statvfs(self.target)
                raise DatasetError(
                    f'{self.target}: cannot be written ({error}; '
                    f'{free.f_bavail * free.f_frsize >> 20} MiB are free on this disk). The '
                    f'{self.meta.written} of {self.meta.count} files written so far are safe: '
                    'make room and run the same command again.'
                ) from error


def _verify(
    environment: lmdb.Environment,
    target: Path,
    meta: layout.LmdbMeta,
    readers: int,
    on_progress: Report,
) -> None:
    """Compare counts, keys, and every value with its hash."""
    with environment.begin() as transaction:
        keys, parts = layout.read_keys(transaction), layout.read_hashes(transaction)
        entries = environment.stat()['entries']
    hashes, expected = b''.join(parts), meta.count + len(parts) + 2
    if not len(keys) == meta.count == len(hashes) // layout.HASH_BYTES or entries != expected:
        raise DatasetError(
            f'{target}: has {entries} entries instead of {expected}, {len(keys)} paths and '
            f'{len(hashes) // layout.HASH_BYTES} hashes for {meta.count} files. Make it again.'
        )
    digest = hashlib.sha256(hashes).hexdigest()
    if digest != meta.sha256 or layout.listing_digest(keys) != meta.listing:
        raise DatasetError(f'{target}: its list of paths or of hashes is damaged. Make it again.')

    def check(first: int) -> list[str]:
        bad = []
        with environment.begin(buffers=True) as transaction:
            for place in range(first, min(first + 256, meta.count)):
                value = transaction.get(keys[place].encode())
                due = hashes[place * layout.HASH_BYTES : (place + 1) * layout.HASH_BYTES]
                if value is None or hashlib.sha256(value).digest() != due:
                    bad.append(keys[place])
        return bad

    wrong: list[str] = []
    with ThreadPoolExecutor(readers) as pool:
        for number, found in enumerate(pool.map(check, range(0, meta.count, 256)), 1):
            wrong += found
            on_progress('verifying', min(number * 256, meta.count), meta.count)
    if wrong:
        raise DatasetError(
            f'{target}: {len(wrong)} of {meta.count} files differ from their hashes, such as '
            f'{wrong[:3]}. Make it again.'
        )
