"""What a layout has to offer: write one item at a time, anywhere, then put the records together."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from .assets import ToyWorldError
from .spec import WorldSpec

JPEG_QUALITY = 95
Record = dict[str, Any]
"""What is left to know about an item once its files are written; plain data."""


class Layout:
    """A dataset layout on disk; ``write_item`` runs in worker processes, in any order."""

    SPLITS: ClassVar[dict[str, str]]  # the spec's field with the number of items, by split

    # What subclasses say.
    prepare: Callable[[Path, WorldSpec], None]  # makes the folders
    # Writes an item (split, index) and returns its record.
    write_item: Callable[[Path, WorldSpec, str, int], Record]
    # Writes what covers a whole split, from a record an item; returns its statistics.
    finish: Callable[[Path, WorldSpec, str, list[Record]], dict[str, Any]]
    # Yields the files of a world, and folders with a pattern and the number of its files.
    expected: Callable[[Path, WorldSpec], Iterator[Path | tuple[Path, str, int]]]

    def splits(self, spec: WorldSpec) -> dict[str, int]:
        """Return the number of items in each split, in the order they are written."""
        return {split: getattr(spec, field) for split, field in self.SPLITS.items()}

    def problem(self, folder: Path, spec: WorldSpec) -> str | None:
        """Return what a world on disk lacks, ``None`` when all is there."""
        for item in self.expected(folder, spec):
            if isinstance(item, Path):
                if not item.is_file():
                    return f'{item} is missing'
                continue
            place, pattern, count = item
            found = len(list(place.glob(pattern)))
            if found != count:
                return f'{place} holds {found} files instead of {count}'
        return None


def write_info(
    path: Path,
    spec: WorldSpec,
    split: str,
    records: list[Record],
    key: str,
    kind: str = 'image',
    how: str = 'composed on',
    **extra: Any,
) -> None:
    """Write where the pixels of a split come from, item by item, each named by its ``key``."""
    info = {
        'description': f'Toy world, {split}: real objects {how} real photographs',
        'sources': credits_of(spec, records),
        f'{kind}_sources': {record[key]: record['sources'] for record in records},
        **extra,
    }
    path.write_text(json.dumps(info), encoding='utf-8')


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an RGB image, uint8 [H, W, 3]."""
    params = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), params)
    if not done:
        raise ToyWorldError(f'{path.name} cannot be encoded as JPEG')
    path.write_bytes(data.tobytes())


def credits_of(spec: WorldSpec, records: list[Record]) -> list[dict[str, str]]:
    """Return name, package, path and credit of all sources that records name under 'sources'."""
    known = spec.sources()
    used = sorted({name for record in records for name in record['sources']})
    return [asdict(known[name]) for name in used]
