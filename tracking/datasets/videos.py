"""Sets of videos with a folder and a few annotation files each: listing, reading, checks."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.progress import Display, Progress, make_display

from .base import CACHE_FROM, SequenceSet
from .cache import WARNING
from .frames import NumberedFrames
from .sequence import Frames
from .stores import Store
from .table import Chunks, SequenceRow, pack_rows
from .text import has_area

LENGTHS = ('exact', 'shortest')
_READERS, _AHEAD = 16, 512
_SILENT = 2.0  # seconds until progress is shown

Read = Callable[[str], bytes | None]
"""Returns an annotation file by its key, None if it is not there."""


@dataclass(frozen=True)
class Entry:
    """A sequence that a set lists.

    Attributes:
        name: Its name.
        folder: Key of where its frames are.
        notes: Keys of its annotation files, that of the boxes first; those that need not be there
            included.
        class_name: Class of the target, '' if not known.
    """

    name: str
    folder: str
    notes: tuple[str, ...]
    class_name: str = ''


class BadSequences(DatasetError):
    """Sequences that cannot be used.

    Args:
        title: Name and split of the set.
        problems: What is wrong with each.
        total: Number of sequences looked at.
    """

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
        split: One of ``SPLITS``.
        store: Reads files of ``data_root``.
        lengths: 'exact' if as many frames as boxes must be there; 'shortest' to use as many as
            there are of both. That the last frame is there and none follows is what is looked at;
            one that is missing between is an error when it is read.
        cache_dir: Where the index is kept, see :class:`SequenceSet`.

    Raises:
        DatasetError: If data are missing or malformed.
        ValueError: If an option is unknown.
    """

    FIRST_ONLY: ClassVar[tuple[str, ...]] = ()
    """Splits of which only the first frame is annotated."""

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str,
        store: Store,
        lengths: str = 'exact',
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        if lengths not in LENGTHS:
            raise ValueError(f"lengths must be 'exact' or 'shortest', got {lengths!r}")
        self.lengths_rule = lengths
        self._entries: list[Entry] = []
        super().__init__(data_root, split, store, cache_dir)
        self._entries = []  # only the table is needed from now on

    def list_entries(self) -> list[Entry]:
        """Return the sequences of the split, in order."""
        raise NotImplementedError

    def parse(self, entry: Entry, read: Read) -> SequenceRow:
        """Return the annotation of a sequence; its ``length`` is the number of boxes.

        Args:
            entry: The sequence.
            read: Returns an annotation file.
        """
        raise NotImplementedError

    def open_frames(self, folder: str, length: int) -> Frames:
        """Return the frames of a sequence: 00000001.jpg and on, unless a subclass knows better."""
        return NumberedFrames(self.store, folder, length)

    def count_frames(self, folder: str) -> int:
        """Return how many frames a folder has, by listing it."""
        return sum(name.endswith('.jpg') for name in self.store.children(folder))

    def sources(self) -> tuple[list[str], list[str]]:
        """Return the annotation files and folders; names and classes count too."""
        self._entries = self.list_entries()
        if not self._entries:
            raise DatasetError(
                f'{self.data_root}: holds no sequence of {self.split!r}. {self.ORIGIN}'
            )
        keys = [key for entry in self._entries for key in (*entry.notes, entry.folder)]
        return keys, [f'{entry.name}\t{entry.class_name}' for entry in self._entries]

    def options(self) -> tuple[str, ...]:
        """Return the rule for lengths."""
        return (self.lengths_rule,)

    def is_large(self) -> bool:
        """Whether there are many sequences."""
        return len(self._entries) >= CACHE_FROM

    def build(self) -> tuple[Chunks, dict[str, Any]]:
        """Read all annotations; return the arrays of a table and its head."""
        return pack_rows(self.rows(), self.GONE, self.ATTRIBUTES)

    def rows(self) -> Iterator[SequenceRow]:
        """Read all annotations, in threads.

        Raises:
            BadSequences: Naming the first sequences that something is wrong with.
        """
        entries, problems = self._entries, []
        with ThreadPoolExecutor(_READERS) as pool, _Reporter(self.name) as report:
            for first in range(0, len(entries), _AHEAD):
                part = entries[first : first + _AHEAD]
                for done, found in enumerate(pool.map(self._try, part), first + 1):
                    report(done, len(entries))
                    if isinstance(found, str):
                        problems.append(found)
                    elif not problems:
                        yield found
        if problems:
            raise BadSequences(f'{self.name} ({self.split})', problems, len(entries))

    def _try(self, entry: Entry) -> SequenceRow | str:
        """Return the annotation of a sequence, or what is wrong with it."""
        try:
            return self._fit(entry, self.parse(entry, self._read))
        except (DatasetError, OSError) as error:
            return str(error)

    def _read(self, key: str) -> bytes | None:
        try:
            return self.store.read(key)
        except FileNotFoundError:
            return None

    def _need(self, read: Read, key: str) -> bytes:
        """Return a file that must be there."""
        data = read(key)
        if data is None:
            raise DatasetError(f'{self.store.where(key)} does not exist. {self.ORIGIN}')
        return data

    def _frames_there(self, folder: str, boxes: int) -> int:
        """Return the number of frames; that of the boxes is looked for first, which is quick."""
        if boxes > 1 or self.split not in self.FIRST_ONLY:
            frames = self.open_frames(folder, boxes)
            if isinstance(frames, NumberedFrames):
                last, beyond = frames.key(boxes - 1), frames.key(boxes)
                if self.store.exists(last) and not self.store.exists(beyond):
                    return boxes
        return self.count_frames(folder)

    def _fit(self, entry: Entry, row: SequenceRow) -> SequenceRow:
        """Check that frames and boxes are as many, or cut off what is too much."""
        boxes, frames = len(row.boxes), self._frames_there(entry.folder, len(row.boxes))
        if frames == 0:
            raise DatasetError(
                f'{self.store.where(entry.folder)}: holds no frame of {entry.name}. {self.ORIGIN}'
            )
        if boxes == 1 and self.split in self.FIRST_ONLY:
            return replace(row, length=frames)
        if boxes != frames and self.lengths_rule == 'exact':
            raise DatasetError(
                f'{entry.name}: {self.store.where(entry.folder)} holds {frames} frames, '
                f'{self.store.where(entry.notes[0])} {boxes} boxes. Unpack the sequence again, or '
                "set lengths='shortest' of the set to use as many as there are of both."
            )
        length = min(frames, boxes)
        return replace(
            row,
            length=length,
            boxes=row.boxes[:length],
            visible=row.visible[:length],
            gone={name: flags[:length] for name, flags in row.gone.items()},
        )


def merge_flags(boxes: np.ndarray, flags: Iterable[np.ndarray], names: Iterable[str]) -> np.ndarray:
    """Return where boxes [T, 4] have an area and no flag [T] is set, bool [T].

    Args:
        boxes: The boxes.
        flags: Non-zero where a target is not to be seen.
        names: What to call the flags in messages.

    Raises:
        DatasetError: If flags and boxes are not as many.
    """
    visible = has_area(boxes)
    for values, name in zip(flags, names, strict=True):
        if len(values) != len(boxes):
            raise DatasetError(
                f'{name}: has {len(values)} flags for {len(boxes)} boxes. Copy the file again.'
            )
        visible &= values == 0
    return visible


def choose_listed(title: str, split: str, listed: Sequence[str], there: set[str]) -> list[str]:
    """Return the listed sequences that are there; say if some are not.

    Args:
        title: Name of the set.
        split: The split.
        listed: Names in order.
        there: Names of those that were found.
    """
    found = [name for name in listed if name in there]
    missing = [name for name in listed if name not in there]
    if found and missing:
        shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        print_log(
            f'{title} ({split}): {len(found)} of {len(listed)} listed sequences are there; missing '
            f'are {shown}. Results of a subset do not compare with published ones.',
            logger='current',
            level=WARNING,
        )
    return found


class _Reporter:
    """Shows how far the reading is, when it takes long."""

    def __init__(self, name: str) -> None:
        self.name, self.began = name, time.monotonic()
        self.display: Display | None = None

    def __enter__(self) -> '_Reporter':
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.display is None and time.monotonic() - self.began > _SILENT:
            self.display = make_display(sys.stderr)
            self.display.start(1, 1, f'index of {self.name}')
        if self.display is not None:
            self.display.update(Progress(done, total))

    def __exit__(self, *error: object) -> None:
        if self.display is not None:
            if error[0] is None:
                self.display.finish('done')
            self.display.close()
