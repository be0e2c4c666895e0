"""All annotations of a sequence set in a few packed arrays, and the one file they are kept in.

A magic word, the length of a JSON head, the head, and the arrays as they lie in memory: mapped, not
read, so that processes share its pages.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.io import atomic_path

MAGIC = b'LVTRACK1'
_ALIGN = 64
_KINDS = 'biufS'


@dataclass(frozen=True, eq=False)
class SequenceRow:
    """The annotation of one sequence, as :class:`~tracking.datasets.VideoSequence` has it."""

    name: str
    folder: str  # key of where its frames are
    length: int  # number of frames
    boxes: np.ndarray  # [T, 4]; T is 1 where only the first frame is annotated
    visible: np.ndarray  # bool [T]
    class_name: str = ''
    gone: Mapping[str, np.ndarray] = field(default_factory=dict)  # why not visible, bool [T] each
    attributes: Sequence[str] = ()


class BadTable(Exception):
    """A file that is no table, or a damaged one."""


class SequenceTable:
    """Annotations of all sequences in arrays, which may be mapped from a file.

    Arrays are 'names' and 'folders' (UTF-8 bytes [N]), 'lengths', 'counts', 'class_ids' [N],
    'attributes' bool [N, A], 'boxes' [M, 4], 'visible' and 'gone:REASON' bool [M].
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], path: str | None = None
    ) -> None:
        self.arrays, self.meta, self.path = dict(arrays), dict(meta), path

    def __len__(self) -> int:
        return len(self.arrays['lengths'])

    def __reduce__(self) -> tuple:
        if self.path is None:
            return SequenceTable, (self.arrays, self.meta)
        return _reopen, (self.path, self.meta['fingerprint'])

    @cached_property
    def names(self) -> list[str]:
        """Names of all sequences."""
        return [name.decode() for name in self.arrays['names'].tolist()]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.arrays['counts'], dtype=np.int64)

    def span(self, index: int) -> slice:
        """Return where the boxes of a sequence lie in 'boxes' and 'visible'."""
        end = int(self._ends[index])
        return slice(end - int(self.arrays['counts'][index]), end)

    def visible_counts(self) -> np.ndarray:
        """Return how many visible targets each sequence has, int64 [N]."""
        starts = self._ends - self.arrays['counts']
        return np.add.reduceat(self.arrays['visible'], starts, dtype=np.int64)

    def row(self, index: int) -> SequenceRow:
        """Return the annotation of a sequence."""
        arrays, span = self.arrays, self.span(index)
        challenges = np.flatnonzero(arrays['attributes'][index]).tolist()
        return SequenceRow(
            arrays['names'][index].decode(),
            arrays['folders'][index].decode(),
            int(arrays['lengths'][index]),
            arrays['boxes'][span].astype(np.float64),
            np.array(arrays['visible'][span]),
            self.meta['classes'][int(arrays['class_ids'][index])],
            {name: np.array(arrays[f'gone:{name}'][span]) for name in self.meta['gone']},
            tuple(self.meta['attributes'][place] for place in challenges),
        )


Chunks = dict[str, list[np.ndarray]]


def pack_rows(
    rows: Iterable[SequenceRow], gone: Sequence[str] = (), attributes: Sequence[str] = ()
) -> tuple[Chunks, dict[str, Any]]:
    """Pack annotations into the arrays of a table, in chunks that are not joined yet.

    Boxes are kept in 32 bits where that loses nothing. The head that is returned has no
    fingerprint.
    """
    classes: dict[str, int] = {}
    chunks: Chunks = {'boxes': [], 'visible': [], **{f'gone:{name}': [] for name in gone}}
    names, folders, numbers, challenges = [], [], [], []
    for row in rows:
        names.append(row.name.encode())
        folders.append(row.folder.encode())
        label = classes.setdefault(row.class_name, len(classes))
        numbers.append((row.length, len(row.boxes), label))
        challenges.append([name in row.attributes for name in attributes])
        chunks['boxes'].append(_narrow(row.boxes))
        chunks['visible'].append(np.asarray(row.visible, bool))
        for name in gone:
            chunks[f'gone:{name}'].append(np.asarray(row.gone[name], bool))
    columns = np.array(numbers, np.int64).reshape(-1, 3)
    chunks |= {
        'names': [np.array(names, 'S')],
        'folders': [np.array(folders, 'S')],
        'lengths': [columns[:, 0]],
        'counts': [columns[:, 1]],
        'class_ids': [columns[:, 2]],
        'attributes': [np.array(challenges, bool).reshape(len(names), len(attributes))],
    }
    return chunks, {'classes': [*classes], 'attributes': [*attributes], 'gone': [*gone]}


def pack_images(
    names: Sequence[str],
    folders: Sequence[str],
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
) -> tuple[Chunks, dict[str, Any]]:
    """Pack sequences of one frame each, whose targets are visible, as :func:`pack_rows` does."""
    ones = np.ones(len(boxes), np.int64)
    chunks = {
        'boxes': [_narrow(boxes)],
        'visible': [ones.astype(bool)],
        'names': [np.array([name.encode() for name in names], 'S')],
        'folders': [np.array([folder.encode() for folder in folders], 'S')],
        'lengths': [ones],
        'counts': [ones],
        'class_ids': [labels],
        'attributes': [np.zeros((len(boxes), 0), bool)],
    }
    return chunks, {'classes': [*classes], 'attributes': [], 'gone': []}


def join(chunks: Chunks, meta: Mapping[str, Any]) -> SequenceTable:
    """Return a table in memory."""
    return SequenceTable({name: np.concatenate(parts) for name, parts in chunks.items()}, meta)


def write_table(path: str | os.PathLike, chunks: Chunks, meta: Mapping[str, Any]) -> None:
    """Write a table, its head with a fingerprint, so that a reader finds the whole one or none."""
    entries, place = {}, 0
    for name, parts in chunks.items():
        kind = np.result_type(*{part.dtype for part in parts})
        shape = [sum(len(part) for part in parts), *parts[0].shape[1:]]
        entries[name] = (kind.str, shape, place)
        size = int(np.prod(shape)) * kind.itemsize
        place += -(-size // _ALIGN) * _ALIGN
    head = json.dumps({'meta': dict(meta), 'arrays': entries, 'size': place}).encode()
    head += b' ' * (-(len(head) + 16) % _ALIGN)
    with atomic_path(path) as draft, open(draft, 'wb') as file:
        file.write(MAGIC + len(head).to_bytes(8, 'little') + head)
        for name, (kind_name, _, _) in entries.items():
            for part in chunks[name]:
                file.write(np.ascontiguousarray(part, np.dtype(kind_name)).data)
            file.write(b'\0' * (-file.tell() % _ALIGN))


def open_table(path: str | os.PathLike) -> SequenceTable:
    """Map a table; :class:`BadTable` if the file is none, or damaged."""
    with open(path, 'rb') as file:
        magic, size = file.read(8), int.from_bytes(file.read(8), 'little')
        total = os.fstat(file.fileno()).st_size
        if magic != MAGIC or size > total:
            raise BadTable(f'{path}: is no index of sequences of this version')
        try:
            head = json.loads(file.read(size))
            entries, meta, due = head['arrays'], head['meta'], head['size']
        except (ValueError, KeyError, TypeError) as error:
            raise BadTable(f'{path}: has a damaged head ({error})') from error
        if total != 16 + size + due:
            raise BadTable(f'{path}: has {total} bytes instead of {16 + size + due}')
        content = np.memmap(file, np.uint8, 'r', offset=16 + size) if due else np.empty(0, np.uint8)
    arrays = {}
    for name, (kind_name, shape, place) in entries.items():
        kind = np.dtype(kind_name)
        if kind.kind not in _KINDS:
            raise BadTable(f'{path}: holds an array of {kind}')
        stop = place + int(np.prod(shape)) * kind.itemsize
        arrays[name] = np.asarray(content[place:stop]).view(kind).reshape(shape)
    return SequenceTable(arrays, meta, os.path.abspath(path))


def _narrow(boxes: np.ndarray) -> np.ndarray:
    """Return boxes in 32 bits if they are the same there."""
    narrow = boxes.astype(np.float32)
    return narrow if np.array_equal(narrow, boxes, equal_nan=True) else boxes


def _reopen(path: str, fingerprint: str) -> SequenceTable:
    """Map a table in another process."""
    try:
        table = open_table(path)
    except (OSError, BadTable) as error:
        raise DatasetError(
            f'{path}: this index was there a moment ago and cannot be opened now ({error}). Start '
            'again; set cache_dir to a folder that nobody clears.'
        ) from error
    if table.meta['fingerprint'] != fingerprint:
        raise DatasetError(
            f'{path}: this index was made anew, as annotations changed while a process was '
            'started. Start again.'
        )
    return table
