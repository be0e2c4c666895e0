"""Packed images: small pictures in tar shards, mapped into memory, so that reading copies nothing.

``index.npy`` is uint64 [6, pictures], sorted by the first row: a key's hash, and the shard, offset,
bytes, height and width of its picture; no bytes where it was unreadable. See docs/data.md.
"""

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

from lightvit_dense.utils.io import write_json

from .errors import DatasetError
from .memory_cache import stage
from .text import read_json

INDEX, ROWS, KEYS = 'index.json', 'index.npy', 'keys.txt'
_HEAD = {'format': 'lightvit_dense.packed', 'version': 1, 'wids_version': 1}
_AGAIN = 'Copy it again, or make it again by tools/dataset_converters/pack_images.py.'


@dataclass(frozen=True)
class PackSettings:
    """How pictures are packed."""

    format: str = 'raw'  # or 'jpeg'
    short_side: int = 256  # pixels; pictures with a shorter one keep their size
    exif: bool = False  # whether the EXIF entry turns pictures upright
    per_shard: int = 4096  # pictures


@dataclass(frozen=True)
class PackedMeta:
    """What a packed set holds."""

    settings: PackSettings
    count: int  # pictures
    listing: str  # SHA-256 of ``keys.txt``
    small: int = 0  # pictures whose short side is below that of the settings
    bad: dict[str, str] = field(default_factory=dict)  # unreadable ones, and why
    shardlist: list[dict[str, Any]] = field(default_factory=list)
    lists: list[dict[str, Any]] = field(default_factory=list)  # index.npy, keys.txt; when complete

    def write(self, folder: str | os.PathLike) -> None:
        """Write ``index.json``."""
        write_json(os.path.join(folder, INDEX), _HEAD | asdict(self))


def key_hash(key: str) -> int:
    """Return the hash that the index is sorted by."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), 'big')


def read_meta(folder: str | os.PathLike) -> PackedMeta | None:
    """Return the notes on a packed set, None where there are none."""
    path = os.path.join(folder, INDEX)
    if not os.path.isfile(path):
        return None
    content = read_json(path)
    head = {key: content.pop(key, None) for key in _HEAD}
    if head != _HEAD:
        raise DatasetError(
            f'{path}: has the layout {head}, and this version of lightvit_dense reads {_HEAD}. '
            'Pack the images again, or take the version that packed them.'
        )
    return PackedMeta(**content | {'settings': PackSettings(**content['settings'])})


def open_meta(folder: str | os.PathLike) -> PackedMeta:
    """Return the notes on a packed set whose files are all there in full size."""
    meta = read_meta(folder)
    if meta is None or not meta.lists:
        raise DatasetError(
            f'{folder}: {"there are no" if meta is None else "the packing was interrupted, no"} '
            'packed images. Run tools/dataset_converters/pack_images.py (again).'
        )
    for file in [*meta.shardlist, *meta.lists]:
        path, due = os.path.join(folder, file['url']), file['filesize']
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        if size != due:
            raise DatasetError(f'{path}: is missing or truncated, {size} bytes of {due}. {_AGAIN}')
    return meta


@lru_cache(maxsize=512)  # each holds a file open; hashes tell files from older ones
def _map(path: str, sha256: str) -> mmap.mmap:
    with open(path, 'rb') as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@lru_cache(maxsize=8)
def _rows(path: str, sha256: str) -> list[memoryview]:
    return [memoryview(row) for row in np.load(path, mmap_mode='r')]


class PackedStorage:
    """Packed images. Objects may be pickled, copied, and forked.

    Args:
        path: Folder of the packed set.
        cache_gb: How much of it :meth:`prepare` copies to shared memory, in GB.
    """

    def __init__(self, path: str | os.PathLike, cache_gb: float = 0) -> None:
        self.path, self.cache_gb = os.path.realpath(path), cache_gb
        self.meta = open_meta(self.path)
        self.shards = [os.path.join(self.path, shard['url']) for shard in self.meta.shardlist]
        self.hashes = [shard['sha256'] for shard in self.meta.shardlist]
        self.index = os.path.join(self.path, ROWS), self.meta.lists[0]['sha256']

    def prepare(self, transforms: Any) -> None:
        """Compare ``exif`` of transforms with that of the packing, and fill the shared memory."""
        exif = self.meta.settings.exif
        if any(getattr(step, 'exif', exif) != exif for step in transforms):
            raise DatasetError(
                f'{self.path}: was packed with exif={exif}, and the pipeline says exif={not exif}. '
                f'Set exif={exif} of the loading transform, or pack the images again '
                f'with{"out" * exif} --exif.'
            )
        if self.cache_gb:
            name = f'{key_hash("".join(self.hashes)):016x}'
            self.shards = stage(self.shards, name, self.cache_gb)

    def _find(self, key: str) -> tuple[mmap.mmap, int, int, int, int]:
        """Return the shard's bytes, and offset, bytes, height and width of a picture."""
        hashes, *rows = _rows(*self.index)
        code = key_hash(key)
        place = bisect_left(hashes, code)
        if place == len(hashes) or hashes[place] != code:
            raise FileNotFoundError(f'{self.path} has no key {key!r}')
        shard, offset, size, height, width = (row[place] for row in rows)
        if not size:
            raise OSError(f'could not be read when it was packed ({self.meta.bad[key]})')
        try:
            file = _map(self.shards[shard], self.hashes[shard])
            whole = file.size() >= offset + size  # reading beyond would kill the process by SIGBUS
        except (OSError, ValueError):
            whole = False
        if not whole:
            raise DatasetError(f'{self.shards[shard]}: gone or cut short since the start. {_AGAIN}')
        return file, offset, size, height, width

    def read(self, key: str) -> bytes:
        """Return a picture as a file: PPM, or JPEG."""
        file, offset, size, *_ = self._find(key)
        return file[offset : offset + size]

    def pixels(self, key: str) -> np.ndarray | None:
        """Return a raw picture, RGB uint8 [H, W, 3], a view of the map; None of a JPEG."""
        if self.meta.settings.format != 'raw':
            return None
        file, offset, size, height, width = self._find(key)
        count = 3 * height * width
        view = np.frombuffer(file, np.uint8, count, offset + size - count)
        return view.reshape(height, width, 3)

    def keys(self, prefix: str = '') -> Iterator[str]:
        """Iterate over the keys, sorted, without touching the pictures."""
        with open(os.path.join(self.path, KEYS), encoding='utf-8', newline='\n') as lines:
            yield from (line.rstrip('\n') for line in lines if line.startswith(prefix))
