"""What all sequence sets share: listing, reading in threads, checks, and the index."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from lightvit_dense.analysis.progress import Display, Progress, make_display
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import did_you_mean

from .cache import WARNING, cached_table, default_cache, fingerprint
from .frames import NumberedFrames
from .sequence import Frames, VideoSequence
from .stores import Store
from .table import Chunks, SequenceRow, SequenceTable, join, pack_rows
from .text import has_area

VERSION = 1  # of what is kept in the index; a new one makes all of them anew
LENGTHS = ('exact', 'shortest')
CACHE_FROM = 256
_READERS, _AHEAD = 16, 512
_SILENT = 2.0  # seconds until progress is shown


@dataclass(frozen=True)
class Entry:
    """A sequence that a set lists.

    Attributes:
        name: Its name.
        folder: Key of where its frames are.
        notes: Keys of its annotation files; those that need not be there included.
        class_name: Class of the target, '' if not known.
    """

    name: str
    folder: str
    notes: tuple[str, ...]
    class_name: str = ''


class SequenceSet:
    """Videos with one annotated target each.

    Annotations are packed into arrays, which a file in ``cache_dir`` keeps; that file is made anew
    as soon as an annotation file is added, removed or written again. Frames are decoded when they
    are read.

    Args:
        data_root: Where the data are: a folder or an LMDB, see the subclass.
        split: One of ``SPLITS``.
        store: Reads files of ``data_root``.
        lengths: 'exact' if as many frames as boxes must be there; 'shortest' to use as many as
            there are of both.
        cache_dir: Where the index is kept; None for ``$LIGHTVIT_CACHE`` or
            ``~/.cache/lightvit_dense``, and for sets of less than 256 sequences for none.

    Raises:
        DatasetError: If data are missing or malformed.
        ValueError: If an option is unknown.
    """

    TITLE: ClassVar[str] = ''
    """Name of the set."""
    ORIGIN: ClassVar[str] = ''
    """Where it comes from and what to unpack: a sentence."""
    SPLITS: ClassVar[tuple[str, ...]] = ()
    GONE: ClassVar[tuple[str, ...]] = ()
    """Reasons that the set gives for targets that are not visible."""
    ATTRIBUTES: ClassVar[tuple[str, ...]] = ()
    """Names of challenges."""
    FIRST_ONLY: ClassVar[tuple[str, ...]] = ()
    """Splits of which only the first frame is annotated."""

    is_video: ClassVar[bool] = True

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
        self.data_root, self.split, self.store = os.fspath(data_root), split, store
        self.lengths_rule = lengths
        self.table = self._open(None if cache_dir is None else Path(cache_dir))

    # What subclasses say.

    @classmethod
    def check_split(cls, split: str) -> None:
        """Check that a split is one of the set.

        Raises:
            DatasetError: If it is unknown.
        """
        if split not in cls.SPLITS:
            hint = did_you_mean(split, cls.SPLITS)
            raise DatasetError(
                f'split of {cls.__name__} is one of {", ".join(cls.SPLITS)}; got {split!r}.{hint}'
            )

    def list_entries(self) -> list[Entry]:
        """Return the sequences of the split, in order."""
        raise NotImplementedError

    def parse(self, entry: Entry, read: Callable[[str], bytes | None]) -> SequenceRow:
        """Return the annotation of a sequence; its ``length`` is the number of boxes.

        Args:
            entry: The sequence.
            read: Returns an annotation file by its key, None if it is not there.
        """
        raise NotImplementedError

    def open_frames(self, folder: str, length: int) -> Frames:
        """Return the frames of a sequence."""
        raise NotImplementedError

    def count_frames(self, folder: str) -> int:
        """Return how many frames a folder has, by listing it."""
        suffix = self._numbered(folder, 1).suffix
        return sum(name.endswith(suffix) for name in self.store.children(folder))

    # What users see.

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.TITLE

    @property
    def names(self) -> list[str]:
        """Names of the sequences."""
        return self.table.names

    @property
    def lengths(self) -> np.ndarray:
        """Number of frames of each sequence, int64 [N]."""
        return self.table.arrays['lengths']

    @property
    def visible_counts(self) -> np.ndarray:
        """Number of frames with a visible target of each sequence, int64 [N]."""
        return self.table.visible_counts()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Name of the set, its split, classes and challenges."""
        classes = [name for name in self.table.meta['classes'] if name]
        return dict(
            dataset=self.name,
            split=self.split,
            classes=tuple(classes),
            attributes=tuple(self.ATTRIBUTES),
        )

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.table)

    def __iter__(self) -> Iterator[VideoSequence]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> VideoSequence:
        """Return a sequence; nothing is decoded."""
        row = self.table.row(self._place(index))
        return VideoSequence(
            name=row.name,
            frames=self.open_frames(row.folder, row.length),
            boxes=row.boxes,
            visible=row.visible,
            dataset=self.name,
            class_name=row.class_name,
            attributes=tuple(row.attributes),
            gone=dict(row.gone),
        )

    def boxes(self, index: int) -> np.ndarray:
        """Return the boxes of a sequence, float [T, 4]; not to be written to."""
        return self.table.arrays['boxes'][self.table.span(self._place(index))]

    def visible(self, index: int) -> np.ndarray:
        """Return whether the target of a sequence is visible, bool [T]; not to be written to."""
        return self.table.arrays['visible'][self.table.span(self._place(index))]

    def frames(self, index: int) -> Frames:
        """Return the frames of a sequence; nothing is decoded."""
        place, arrays = self._place(index), self.table.arrays
        return self.open_frames(arrays['folders'][place].decode(), int(arrays['lengths'][place]))

    def find(self, name: str) -> int:
        """Return the index of a sequence.

        Raises:
            DatasetError: If there is none of that name.
        """
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise DatasetError(f'{self.name} ({self.split}) has no sequence {name!r}.{hint}')
        return self.names.index(name)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.data_root!r}, {self.split!r}, {len(self)} sequences)'

    def _place(self, index: int) -> int:
        place = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= place < len(self):
            raise IndexError(f'sequence {index} of {len(self)} of {self.name}')
        return place

    # Building.

    def _open(self, cache_dir: Path | None) -> SequenceTable:
        entries = self.list_entries()
        if not entries:
            raise DatasetError(
                f'{self.data_root}: holds no sequence of {self.split!r}. {self.ORIGIN}'
            )
        if cache_dir is None and len(entries) < CACHE_FROM:
            return join(*self._build(entries))
        keys = [key for entry in entries for key in (*entry.notes, entry.folder)]
        stamps = self.store.stamps(keys)
        names = [f'{entry.name}\t{entry.class_name}' for entry in entries]
        mark = fingerprint(keys + names, stamps + [(0, 0)] * len(names))
        return cached_table(
            cache_dir or default_cache(),
            f'{self.TITLE}-{self.split}'.lower(),
            self.identity(),
            mark,
            lambda: self._build(entries),
        )

    def identity(self) -> str:
        """Return what tells the index of this set from those of others."""
        kind = type(self)
        parts = (VERSION, kind.__qualname__, os.path.realpath(self.data_root), self.split)
        return '\n'.join(map(str, (*parts, self.lengths_rule, type(self.store).__name__)))

    def _build(self, entries: Sequence[Entry]) -> tuple[Chunks, dict[str, Any]]:
        return pack_rows(self._rows(entries), self.GONE, self.ATTRIBUTES)

    def _rows(self, entries: Sequence[Entry]) -> Iterator[SequenceRow]:
        problems: list[str] = []
        with ThreadPoolExecutor(_READERS) as pool, _Reporter(self.name) as report:
            for first in range(0, len(entries), _AHEAD):
                part = entries[first : first + _AHEAD]
                for done, found in enumerate(pool.map(self._try, part), first + 1):
                    report(done, len(entries))
                    if isinstance(found, str):
                        problems.append(found)
                    elif not problems:
                        yield found
        if len(problems) == 1:
            raise DatasetError(problems[0])
        if problems:
            shown = ''.join(f'\n  {problem}' for problem in problems[:5])
            raise DatasetError(
                f'{len(problems)} of {len(entries)} sequences of {self.name} ({self.split}) cannot '
                f'be used, such as{shown}'
            )

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

    def _numbered(self, folder: str, length: int) -> NumberedFrames:
        frames = self.open_frames(folder, length)
        assert isinstance(frames, NumberedFrames)
        return frames

    def _frames_there(self, folder: str, boxes: int) -> int:
        """Return the number of frames; that of the boxes is looked for first, which is quick."""
        if boxes == 1 and self.split in self.FIRST_ONLY:
            return self.count_frames(folder)
        frames = self._numbered(folder, boxes)
        fits = self.store.exists(frames.key(boxes - 1)) and not self.store.exists(frames.key(boxes))
        return boxes if fits else self.count_frames(folder)

    def _fit(self, entry: Entry, row: SequenceRow) -> SequenceRow:
        """Check that frames and boxes are as many, or cut off what is too much."""
        boxes, frames = len(row.boxes), self._frames_there(entry.folder, len(row.boxes))
        if frames == 0:
            raise DatasetError(
                f'{self.store.where(entry.folder)}: holds no frame of {entry.name}. {self.ORIGIN}'
            )
        if boxes == 1 and self.split in self.FIRST_ONLY:
            length = frames
        elif boxes != frames and self.lengths_rule == 'exact':
            raise self._unequal(entry, frames, boxes)
        else:
            length = min(frames, boxes)
        keep = slice(0, min(boxes, length))
        return SequenceRow(
            row.name,
            row.folder,
            length,
            row.boxes[keep],
            row.visible[keep],
            row.class_name,
            {name: flags[keep] for name, flags in row.gone.items()},
            row.attributes,
        )

    def _unequal(self, entry: Entry, frames: int, boxes: int) -> DatasetError:
        return DatasetError(
            f'{entry.name}: {self.store.where(entry.folder)} holds {frames} frames, '
            f'{self.store.where(entry.notes[0])} {boxes} boxes. Unpack the sequence again, or set '
            "lengths='shortest' of the set to use as many as there are of both."
        )


def needed(read: Callable[[str], bytes | None], key: str, where: str, origin: str) -> bytes:
    """Return a file that must be there.

    Raises:
        DatasetError: If it is not.
    """
    data = read(key)
    if data is None:
        raise DatasetError(f'{where} does not exist. {origin}')
    return data


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


def warn_subset(title: str, split: str, found: int, listed: int, missing: Sequence[str]) -> None:
    """Say that listed sequences are not there, so that results do not compare."""
    if found < listed:
        print_log(
            f'{title} ({split}): {found} of {listed} listed sequences are there; missing are '
            f'{", ".join(missing[:3])}{", ..." if len(missing) > 3 else ""}. Results of a subset '
            'do not compare with published ones.',
            logger='current',
            level=WARNING,
        )


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
