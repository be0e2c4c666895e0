"""Where the files of a sequence set lie: below a folder, in an LMDB, or in several LMDBs."""

import os
from collections.abc import Mapping, Sequence

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.storage import FolderStorage, LmdbStorage, data_file
from lightvit_dense.utils.io import is_clutter

Stamp = tuple[int, int]
"""Size in bytes of a file and time of its last change."""

ABSENT: Stamp = (-1, -1)


def stamp(path: str) -> Stamp:
    """Return the stamp of a file or folder, ``ABSENT`` if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ABSENT
    return found.st_size, found.st_mtime_ns


class FolderStore(FolderStorage):
    """Files below a folder."""

    def __init__(self, root: str | os.PathLike) -> None:
        super().__init__(root)
        if not os.path.isdir(self.root):
            what = 'is no folder' if os.path.exists(self.root) else 'this folder does not exist'
            raise DatasetError(
                f'{self.root}: {what}. Set data_root (or the environment variable LIGHTVIT_DATA) '
                'to where the sequences are.'
            )

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return os.path.exists(self.where(key))

    def children(self, folder: str = '') -> list[str]:
        """Return the names in a folder, hidden ones and clutter aside, sorted."""
        try:
            return sorted(n for n in os.listdir(self.where(folder)) if not is_clutter(n))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stamps(self, keys: Sequence[str]) -> list[Stamp]:
        """Return the stamps of files."""
        begin = os.path.join(self.root, '')
        return [stamp(begin + key) for key in keys]

    def where(self, key: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, key) if key else self.root


class LmdbStore(LmdbStorage):
    """Files in an LMDB (a folder with ``data.mdb``, or a single file), ours or others'."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path)
        if not data_file(self.path).is_file():
            raise DatasetError(
                f'{path}: this LMDB does not exist. Make it by '
                "tools/dataset_converters/make_tracking_lmdb.py, or set source='folder'."
            )

    def stamps(self, keys: Sequence[str]) -> list[Stamp]:
        """Return the stamp of the LMDB for each."""
        return [stamp(str(data_file(self.path)))] * len(keys)

    def where(self, key: str) -> str:
        """Return the LMDB and the key."""
        return f'{self.path}, key {key!r}'


class PartedStore:
    """Several LMDBs below a root, each in place of the folder that a key begins with."""

    def __init__(self, root: str, parts: Mapping[str, str]) -> None:
        self.root = root
        self.parts = {part: LmdbStore(os.path.join(root, name)) for part, name in parts.items()}

    def _find(self, key: str) -> tuple[LmdbStore, str]:
        part, _, rest = key.partition('/')
        if part not in self.parts:
            raise FileNotFoundError(f'{self.root} has no LMDB for {key!r}')
        return self.parts[part], rest

    def read(self, key: str) -> bytes:
        """Return a file; FileNotFoundError names a key that is not there."""
        store, rest = self._find(key)
        return store.read(rest)

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        part, _, rest = key.partition('/')
        return part in self.parts and (not rest or self.parts[part].exists(rest))

    def children(self, folder: str = '') -> list[str]:
        """Return the names in a folder, sorted."""
        part, _, rest = folder.partition('/')
        if not part:
            return sorted(self.parts)
        return self.parts[part].children(rest) if part in self.parts else []

    def stamps(self, keys: Sequence[str]) -> list[Stamp]:
        """Return the stamp of its LMDB for each."""
        known = {part: store.stamps([''])[0] for part, store in self.parts.items()}
        return [known.get(key.partition('/')[0], ABSENT) for key in keys]

    def where(self, key: str) -> str:
        """Return the LMDB and the key."""
        store, rest = self._find(key)
        return store.where(rest)


Store = FolderStore | LmdbStore | PartedStore
"""Files by their keys: paths below the root, with slashes."""


def open_store(root: str, source: str) -> Store:
    """Return the store of a folder or an LMDB."""
    if source not in ('folder', 'lmdb'):
        raise ValueError(f"source must be 'folder' or 'lmdb', got {source!r}")
    return LmdbStore(root) if source == 'lmdb' else FolderStore(root)
