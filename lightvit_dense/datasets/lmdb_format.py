"""How our LMDBs are laid out.

==================  ============================================================================
key                 value
==================  ============================================================================
relative path       the file's bytes as they are
``__meta__``        JSON, see :class:`LmdbMeta`
``__keys__``        all paths, sorted by their UTF-8 bytes, joined by newlines, zlib-compressed
``__sha256__:N``    32 bytes a file: hashes of the files from the N-th path on (twelve digits)
==================  ============================================================================

So the files are listed without touching them, and checked without what they were made of.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import lmdb

from .errors import DatasetError

FORMAT = 'lightvit_dense.lmdb'
META, KEYS, HASHES = b'__meta__', b'__keys__', b'__sha256__:'
HASH_BYTES = 32


@dataclass(frozen=True)
class LmdbMeta:
    """What an LMDB holds."""

    count: int  # files in all
    written: int  # files written so far, in the order of the paths
    size: int  # the bytes of the files written so far
    listing: str  # SHA-256 of the list of all paths
    complete: bool = False  # whether the conversion came to its end
    sha256: str = ''  # SHA-256 of all files' hashes, once complete

    def pack(self) -> bytes:
        """Return the value of ``__meta__``."""
        return json.dumps({'format': FORMAT, 'version': 1, **asdict(self)}).encode()


def is_reserved(key: bytes) -> bool:
    """Whether a key is one of ours and can be no file's."""
    return key in (META, KEYS) or key.startswith(HASHES)


def key_text(key: bytes) -> str:
    """Return a key as text."""
    try:
        return bytes(key).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f'the LMDB has a key that is not UTF-8, {bytes(key)!r}') from error


def pack_keys(keys: Iterable[str]) -> bytes:
    """Return the value of ``__keys__``."""
    return zlib.compress('\n'.join(keys).encode(), 6)


def listing_digest(keys: Iterable[str]) -> str:
    """Return the SHA-256 of a list of paths in hexadecimal."""
    return hashlib.sha256('\n'.join(keys).encode()).hexdigest()


def read_meta(transaction: lmdb.Transaction) -> LmdbMeta | None:
    """Return the notes on an LMDB, None when they are not ours."""
    try:
        content = json.loads(bytes(transaction.get(META) or b'null'))
    except ValueError:
        return None
    if not isinstance(content, dict) or content.pop('format', None) != FORMAT:
        return None
    version = content.pop('version', None)
    if version != 1:
        raise DatasetError(
            f'the LMDB has layout {version}, this version of lightvit_dense reads layout 1. '
            'Update lightvit_dense, or make the LMDB again.'
        )
    return LmdbMeta(**content)


def unpack_keys(value: bytes, size: int = 1 << 16) -> Iterator[str]:
    """Yield the paths of a value of ``__keys__``, unpacked piece by piece."""
    stream, more = zlib.decompressobj(), b''
    for start in range(0, len(value), size):
        piece = more + stream.decompress(value[start : start + size])
        *lines, more = piece.split(b'\n')
        yield from (line.decode() for line in lines)
    if value and not stream.eof:
        raise DatasetError('the list of files in the LMDB is damaged. Make the LMDB again.')
    if more:
        yield more.decode()


def read_keys(transaction: lmdb.Transaction) -> list[str]:
    """Return all paths, sorted."""
    return list(unpack_keys(bytes(transaction.get(KEYS) or b'')))


def read_hashes(transaction: lmdb.Transaction) -> list[bytes]:
    """Return the files' SHA-256, 32 bytes each, in the order of the paths, in parts."""
    parts: list[bytes] = []
    cursor = transaction.cursor()
    if cursor.set_range(HASHES):
        for key, value in cursor:
            if not bytes(key).startswith(HASHES):
                break
            parts.append(bytes(value))
    return parts
