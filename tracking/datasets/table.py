"""All annotations of a sequence set in a few packed arrays, kept in one safetensors file.

The file is mapped, not read, so that processes share its pages.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.io import atomic_path

_TEXTS = ('names', 'folders')


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


Packed = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Arrays and ``meta`` of a table, without a fingerprint."""


def pack_rows(
    rows: Iterable[SequenceRow], gone: Sequence[str] = (), attributes: Sequence[str] = ()
) -> Packed:
    """Pack annotations; boxes are kept in 32 bits where that loses nothing."""
    classes: dict[str, int] = {}
    chunks: dict[str, list[np.ndarray]] = {name: [] for name in ('boxes', 'visible')}
    chunks |= {f'gone:{name}': [] for name in gone}
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
    # Chunks go as they are joined: only one array is there twice.
    arrays = {name: np.concatenate(chunks.pop(name)) for name in [*chunks]}
    arrays |= {
        'names': np.array(names, 'S'),
        'folders': np.array(folders, 'S'),
        'lengths': columns[:, 0],
        'counts': columns[:, 1],
        'class_ids': columns[:, 2],
        'attributes': np.array(challenges, bool).reshape(len(names), len(attributes)),
    }
    return arrays, {'classes': [*classes], 'attributes': [*attributes], 'gone': [*gone]}


def pack_images(
    names: Sequence[str],
    folders: Sequence[str],
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
) -> Packed:
    """Pack sequences of one frame each, whose targets are visible, as :func:`pack_rows` does."""
    ones = np.ones(len(boxes), np.int64)
    arrays = {
        'boxes': _narrow(boxes),
        'visible': ones.astype(bool),
        'names': np.array([name.encode() for name in names], 'S'),
        'folders': np.array([folder.encode() for folder in folders], 'S'),
        'lengths': ones,
        'counts': ones,
        'class_ids': labels,
        'attributes': np.zeros((len(boxes), 0), bool),
    }
    return arrays, {'classes': [*classes], 'attributes': [], 'gone': []}


def write_table(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], meta: Any) -> None:
    """Write a table, whose ``meta`` has a fingerprint; a reader finds the whole one or none."""
    texts = {name: arrays[name][:, None].view(np.uint8) for name in _TEXTS}
    tensors = {n: torch.from_numpy(x).contiguous() for n, x in {**arrays, **texts}.items()}
    with atomic_path(path) as draft:
        save_file(tensors, draft, {'meta': json.dumps(meta)})


def open_table(path: str | os.PathLike) -> SequenceTable:
    """Map a table; :class:`BadTable` if the file is none, or damaged."""
    try:
        with safe_open(path, 'pt') as file:
            meta = json.loads(file.metadata()['meta'])
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
        for name in _TEXTS:
            arrays[name] = arrays[name].view(f'S{arrays[name].shape[1]}')[:, 0]
        for array in arrays.values():
            array.flags.writeable = False
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise BadTable(f'{path}: is no index of sequences, or a damaged one ({error})') from error
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
