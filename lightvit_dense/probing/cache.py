"""Features on disk: whole, checked, and never another network's."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_write, locked, sha256

LABELS = 'labels'


@dataclass(frozen=True)
class Part:
    """Features of one part of the data."""

    features: dict[str, np.ndarray]  # by the name of the space, fp32 [N, C], mapped from the file
    labels: np.ndarray  # int64 [N], in memory


class CacheFolder:
    """Arrays of a part of the data, each with a .json of its digest; others do not count."""

    def __init__(self, root: str | Path, part: str, identity: str) -> None:
        self.path = Path(root) / f'{part}-{identity[:16]}'
        self.identity = identity

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from making the same features; the lock dies with its process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / '.lock').touch()
        except OSError as error:
            raise UserError(f'--cache: {self.path} cannot be written ({error})') from error
        with locked(self.path / '.lock'):
            yield

    def problem(self, name: str) -> str | None:
        """Tell why an array cannot be used: '' if it was never made, None if it can."""
        array, metadata = self.path / f'{name}.npy', self.path / f'{name}.json'
        if not metadata.exists():
            return ''
        try:
            about = json.loads(metadata.read_text())
            if about['identity'] != self.identity:
                return 'belongs to other weights or data'
            if sha256(array) != about['sha256']:
                return 'its digest differs'
            shape = list(np.load(array, mmap_mode='r', allow_pickle=False).shape)
            return None if shape == about['shape'] else 'has another shape'
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f'cannot be read ({type(error).__name__})'

    def open(self, names: Sequence[str]) -> Part:
        """Map arrays that have no :meth:`problem`."""
        arrays = {
            name: np.load(self.path / f'{name}.npy', mmap_mode='r', allow_pickle=False)
            for name in (*names, LABELS)
        }
        return Part(arrays, np.array(arrays.pop(LABELS)))

    @contextmanager
    def writer(self, widths: dict[str, int], rows: int) -> Iterator['Writer']:
        """Write arrays of ``widths`` columns (0: a vector); they appear when all went well."""
        temporary = {name: self.path / f'.{name}.partial' for name in widths}
        try:
            with ExitStack() as stack:
                files = {n: stack.enter_context(open(p, 'wb')) for n, p in temporary.items()}
                writer = Writer(files, widths, rows)
                yield writer
                if writer.done != rows:
                    raise RuntimeError(f'{writer.done} of {rows} rows were written')
            for name, path in temporary.items():
                shape = [rows, widths[name]] if widths[name] else [rows]
                about = {'identity': self.identity, 'shape': shape, 'sha256': sha256(path)}
                metadata = self.path / f'{name}.json'
                metadata.unlink(missing_ok=True)  # first no metadata, then a new one
                os.replace(path, self.path / f'{name}.npy')
                atomic_write(metadata, json.dumps(about, indent=2).encode())
        except OSError as error:
            raise UserError(
                f'--cache: {self.path} cannot be written ({error}); free space, or give another '
                'folder'
            ) from error
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)


class Writer:
    """Open ``.npy`` files by name, which grow to so many rows; columns are 0 for int64 labels."""

    def __init__(self, files: Mapping[str, BinaryIO], widths: dict[str, int], rows: int) -> None:
        self.files, self.widths, self.done = files, widths, 0
        for name, file in files.items():
            width = widths[name]
            header: dict[str, Any] = {
                'descr': '<f4' if width else '<i8',
                'fortran_order': False,
                'shape': (rows, width) if width else (rows,),
            }
            np.lib.format.write_array_header_1_0(file, header)

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Append the rows of a batch to every array."""
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                row = self.done + int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(1)))
                raise UserError(
                    f'features {name} of image {row} are not finite; check the checkpoint'
                )
            kind = '<f4' if self.widths[name] else '<i8'
            self.files[name].write(np.ascontiguousarray(array, dtype=kind).tobytes())
        self.done += len(next(iter(arrays.values())))
