"""What all sequence sets share: the table of annotations, and access to it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.errors import require_known

from .cache import cached_table, default_cache, fingerprint
from .sequence import Frames, VideoSequence
from .stores import Store
from .table import Packed, SequenceTable

VERSION = 2  # of what is kept in the index; a new one makes all of them anew
CACHE_FROM = 256


class SequenceSet:
    """Sequences with one annotated target each; frames are decoded when they are read.

    Annotations are packed into arrays, which a file in ``cache_dir`` keeps; it is made anew as soon
    as an annotation file is added, removed or written again. A :class:`DatasetError` names data
    that are missing or malformed.

    Args:
        data_root: Where the data are: a folder or an LMDB, see the subclass.
        split: One of ``SPLITS``.
        store: Reads files of ``data_root``.
        cache_dir: Where the index is kept; None for ``$LIGHTVIT_CACHE`` or
            ``~/.cache/lightvit_dense``, and for sets of less than 256 sequences for none.
    """

    name: ClassVar[str] = ''
    ORIGIN: ClassVar[str] = ''  # where it comes from and what to unpack: a sentence
    SPLITS: ClassVar[tuple[str, ...]] = ()
    GONE: ClassVar[tuple[str, ...]] = ()  # reasons that it gives for targets that are not visible
    ATTRIBUTES: ClassVar[tuple[str, ...]] = ()  # names of challenges

    is_video: ClassVar[bool] = True

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str,
        store: Store,
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        self.data_root, self.split, self.store = os.fspath(data_root), split, store
        self.table = self._open(None if cache_dir is None else Path(cache_dir))

    # What subclasses say.
    # What an index is made of: keys of files, and whatever else it depends on.
    _sources: Callable[[], tuple[list[str], list[str]]]
    _options: Callable[[], tuple[str, ...]]  # on which the annotations depend
    _build: Callable[[], Packed]
    _is_large: Callable[[], bool]  # whether an index is worth being kept where nobody asked for it
    open_frames: Callable[[str, int], Frames]  # of a folder, so many

    # What users see.

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
        found = dict(dataset=self.name, split=self.split, attributes=self.ATTRIBUTES)
        return {**found, 'classes': tuple(filter(None, self.table.meta['classes']))}

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[VideoSequence]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> VideoSequence:
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

    def _place(self, index: int) -> int:
        place = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= place < len(self):
            raise IndexError(f'sequence {index} of {len(self)} of {self.name}')
        return place

    @classmethod
    def _check_split(cls, split: str) -> None:
        require_known(split, cls.SPLITS, f'split of {cls.__name__}')

    def _open(self, cache_dir: Path | None) -> SequenceTable:
        """Return the table: from the index if there is a true one, else from the annotations."""
        keys, others = self._sources()
        if cache_dir is None and not self._is_large():
            return SequenceTable(*self._build())
        root, kind = os.path.realpath(self.data_root), type(self).__qualname__
        store = type(self.store).__name__
        identity = '\n'.join((str(VERSION), kind, root, self.split, store, *self._options()))
        title, folder = f'{self.name}-{self.split}'.lower(), cache_dir or default_cache()
        mark = fingerprint(keys, self.store.stamps(keys), others)
        return cached_table(folder, title, identity, mark, self._build)
