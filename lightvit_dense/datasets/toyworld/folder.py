"""Folders that appear whole or not at all, and that are removed only when they are ours."""

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .assets import ToyWorldError


@dataclass(frozen=True)
class OwnFolder:
    """A kind of folder, known by the JSON file in it."""

    marker: str  # name of the JSON file
    format: str  # value of its key ``format``
    parts: Collection[str]  # names of all else that may lie in the folder

    @property
    def _draft(self) -> str:
        return f'{self.marker}.new'

    def read(self, folder: Path) -> dict[str, Any] | None:
        """Return the marker of a folder, ``None`` when there is nothing (or nothing in it)."""
        remedy = 'nothing was touched; move it away or choose another folder'
        if not folder.exists():
            return None
        if not folder.is_dir():
            raise ToyWorldError(f'{folder} is a file; {remedy}')
        names = {path.name for path in folder.iterdir()}
        if names <= {self._draft}:
            return None
        try:
            marker = json.loads((folder / self.marker).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            marker = None
        if not isinstance(marker, dict) or marker.get('format') != self.format:
            raise ToyWorldError(f'{folder} is not empty and no toy world; {remedy}')
        foreign = sorted(names - {self.marker, self._draft, *self.parts})
        if foreign:
            raise ToyWorldError(
                f'{folder} holds something besides a toy world, {foreign}; {remedy}'
            )
        return marker

    def mark(self, folder: Path, content: dict[str, Any]) -> None:
        """Write the marker of a folder at one stroke."""
        draft = folder / self._draft
        draft.write_text(json.dumps({'format': self.format, **content}, indent=2), encoding='utf-8')
        draft.replace(folder / self.marker)

    def remove(self, folder: Path) -> None:
        """Remove a folder, provided that it is ours or empty."""
        self.read(folder)
        if not folder.exists():
            return
        # Under another name no process that outlived its killed parent can write into it.
        gone = folder.with_name(f'{folder.name}.gone')
        folder.rename(gone)
        # The marker goes last: killed in the middle, the rest is still known as ours.
        for part in self.parts:
            if (gone / part).exists():
                shutil.rmtree(gone / part)
        (gone / self.marker).unlink(missing_ok=True)
        (gone / self._draft).unlink(missing_ok=True)
        gone.rmdir()

    def replace(self, folder: Path, new: Path, old: Path) -> None:
        """Put ``new`` in the place of ``folder``; what was there is removed by way of ``old``."""
        self.read(folder)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        self.remove(old)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Keep other processes out; the lock file is gone afterwards and dies with its process."""
    while True:
        with lock.open('w') as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            # Whoever held the lock before has unlinked the file that we waited for.
            if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
