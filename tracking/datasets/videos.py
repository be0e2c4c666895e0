"""Sets of videos with a folder and a few annotation files each: listing, reading, checks."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import track

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import require_known
from lightvit_dense.utils.io import decode_text

from .base import CACHE_FROM, SequenceSet
from .cache import WARNING
from .frames import NumberedFrames
from .sequence import Frames
from .stores import Store, open_store
from .table import Packed, SequenceRow, pack_rows
from .text import has_area, parse_boxes, parse_flags

_READERS = 16


@dataclass(frozen=True)
class Entry:
    """A sequence that a set lists."""

    name: str
    folder: str  # key of where its frames are
    notes: tuple[str, ...]  # keys of its annotation files, there or not, that of the boxes first
    class_name: str = ''


class BadSequences(DatasetError):
    """Sequences that cannot be used: the problem of each, among so many of a set."""

    def __init__(self, title: str, problems: Sequence[str], total: int) -> None:
        shown = ''.join(f'\n  {problem}' for problem in problems[:5])
        many = f'{len(problems)} of {total} sequences of {title} cannot be used, such as{shown}'
        super().__init__(problems[0] if len(problems) == 1 else many)
        self.problems, self.total = list(problems), total

    def __reduce__(self) -> tuple:
        return DatasetError, (str(self),)


class VideoSet(SequenceSet):
    """Videos, each with its folder of frames and its annotation files.

    Args:
        data_root: Where the data are: a folder or an LMDB, see the subclass.
        split: One of ``SPLITS``, the first by default.
        source: 'folder', or 'lmdb' if ``data_root`` is an LMDB.
        lengths: 'exact' if as many frames as boxes must be there; 'shortest' to use as many as
            there are of both. That the last frame is there and none follows is what is looked at;
            one that is missing between is an error when it is read.
        cache_dir: Where the index is kept, see :class:`SequenceSet`.
    """

    FIRST_ONLY: ClassVar[tuple[str, ...]] = ()  # splits of which only the first frame is annotated
    SLACK: ClassVar[int] = 0  # so many frames or boxes more than the others are left out

    # What subclasses say.
    _list_entries: Callable[[], list[Entry]]  # the sequences of the split, in order
    _parse: Callable[[Entry], SequenceRow]  # an annotation; its length is the number of boxes

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str = '',
        source: str = 'folder',
        lengths: str = 'exact',
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        split = split or self.SPLITS[0]
        self._check_split(split)
        require_known(lengths, ('exact', 'shortest'), 'lengths')
        self.lengths_rule = lengths
        self._entries: list[Entry] = []
        super().__init__(data_root, split, self._open_store(str(data_root), source), cache_dir)
        self._entries = []  # only the table is needed from now on

    @classmethod
    def required_files(cls, data_root: str, split: str = '', **kwargs: Any) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        cls._check_split(split or cls.SPLITS[0])
        return [data_root]

    def _open_store(self, root: str, source: str) -> Store:
        return open_store(root, source)

    def open_frames(self, folder: str, length: int) -> Frames:
        """Return the frames of a sequence: 00000001.jpg and on, unless a subclass knows better."""
        return NumberedFrames(self.store, folder, length)

    def _count_frames(self, folder: str) -> int:
        return sum(name.endswith('.jpg') for name in self.store.children(folder))

    def _where(self, folder: str) -> str:
        """Return the path of where frames are, for an error."""
        return self.store.where(folder)

    def _sources(self) -> tuple[list[str], list[str]]:
        self._entries = self._list_entries()
        if not self._entries:
            raise DatasetError(
                f'{self.data_root}: holds no sequence of {self.split!r}. {self.ORIGIN}'
            )
        keys = [key for entry in self._entries for key in (*entry.notes, entry.folder)]
        return keys, [f'{entry.name}\t{entry.class_name}' for entry in self._entries]

    def _options(self) -> tuple[str, ...]:
        return (self.lengths_rule,)

    def _is_large(self) -> bool:
        return len(self._entries) >= CACHE_FROM

    def _build(self) -> Packed:
        return pack_rows(self.rows(), self.GONE, self.ATTRIBUTES)

    def rows(self) -> Iterator[SequenceRow]:
        """Read all annotations, in threads, with progress on a terminal; raises BadSequences."""
        problems, total = [], len(self._entries)
        if self._is_large():
            print_log(f'{self.name}: reads the annotations of {total} sequences', logger='current')
        with ThreadPoolExecutor(_READERS) as pool:
            for found in track(
                pool.map(self._try, self._entries),
                f'index of {self.name}',
                total,
                console=Console(stderr=True),
                transient=True,
                disable=not self._is_large() or not sys.stderr.isatty(),
            ):
                if isinstance(found, str):
                    problems.append(found)
                elif not problems:
                    yield found
        if problems:
            raise BadSequences(f'{self.name} ({self.split})', problems, total)

    def _try(self, entry: Entry) -> SequenceRow | str:
        """Return the annotation of a sequence, or what is wrong with it."""
        try:
            return self._fit(entry, self._parse(entry))
        except (DatasetError, OSError) as error:
            return str(error)

    # What parsing is made of.

    def _read(self, key: str) -> bytes | None:
        try:
            return self.store.read(key)
        except FileNotFoundError:
            return None

    def _need(self, key: str) -> bytes:
        """Return a file that must be there."""
        data = self._read(key)
        if data is None:
            raise DatasetError(f'{self.store.where(key)} does not exist. {self.ORIGIN}')
        return data

    def _boxes(self, key: str) -> np.ndarray:
        return parse_boxes(self._need(key), self.store.where(key))

    def _flags(self, key: str, boxes: int) -> np.ndarray:
        """Return a flag for each of so many boxes."""
        flags = parse_flags(self._need(key), self.store.where(key))
        if len(flags) != boxes:
            raise DatasetError(
                f'{self.store.where(key)}: has {len(flags)} flags for {boxes} boxes. Copy the file '
                'again.'
            )
        return flags

    def _row(
        self,
        entry: Entry,
        boxes: np.ndarray,
        gone: Mapping[str, np.ndarray],
        class_name: str = '',
        attributes: tuple[str, ...] = (),
    ) -> SequenceRow:
        """Return a row; a target is visible where its box has an area and no reason holds."""
        visible = has_area(boxes)
        for flags in gone.values():
            visible &= ~flags
        return SequenceRow(
            entry.name, entry.folder, len(boxes), boxes, visible, class_name, gone, attributes
        )

    def _frames_there(self, folder: str, boxes: int) -> int:
        """Return the number of frames; that of the boxes is looked for first, which is quick."""
        if boxes > 1 or self.split not in self.FIRST_ONLY:
            frames = self.open_frames(folder, boxes)
            if isinstance(frames, NumberedFrames):
                last, beyond = frames.key(boxes - 1), frames.key(boxes)
                if self.store.exists(last) and not self.store.exists(beyond):
                    return boxes
        return self._count_frames(folder)

    def _fit(self, entry: Entry, row: SequenceRow) -> SequenceRow:
        """Check that frames and boxes are as many, or cut off what is too much."""
        boxes, frames = len(row.boxes), self._frames_there(entry.folder, len(row.boxes))
        if frames == 0:
            raise DatasetError(
                f'{self._where(entry.folder)}: holds no frame of {entry.name}. {self.ORIGIN}'
            )
        if boxes == 1 and self.split in self.FIRST_ONLY:
            return replace(row, length=frames)
        if abs(boxes - frames) > self.SLACK and self.lengths_rule == 'exact':
            raise DatasetError(
                f'{entry.name}: {self._where(entry.folder)} holds {frames} frames, '
                f'{self.store.where(entry.notes[0])} {boxes} boxes. Unpack the sequence again, or '
                "set lengths='shortest' of the set (of a tool: --data-options lengths=shortest) to "
                'use as many as there are of both.'
            )
        length = min(frames, boxes)
        gone = {name: flags[:length] for name, flags in row.gone.items()}
        visible = row.visible[:length]
        return replace(row, length=length, boxes=row.boxes[:length], visible=visible, gone=gone)

    def _listed(self, key: str) -> list[str] | None:
        """Return the names that a list holds, None if it is not there."""
        data = self._read(key)
        if data is None:
            return None
        return [
            line.strip()
            for line in decode_text(data, self.store.where(key)).splitlines()
            if line.strip()
        ]

    def _choose(self, listed: Sequence[str], there: set[str]) -> list[str]:
        """Return the listed sequences that are there; say if some are not."""
        found = [name for name in listed if name in there]
        missing = [name for name in listed if name not in there]
        if found and missing:
            shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
            print_log(
                f'{self.name} ({self.split}): {len(found)} of {len(listed)} listed sequences are '
                f'there; missing are {shown}. Results of a subset do not compare with published '
                'ones.',
                logger='current',
                level=WARNING,
            )
        return found
