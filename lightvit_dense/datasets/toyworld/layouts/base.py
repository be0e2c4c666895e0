"""What a layout has to offer: write one item at a time, anywhere, then put the records together."""

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..assets import load_cutouts, load_photos
from ..classes import ToyWorldError
from ..spec import WorldSpec

Record = dict[str, Any]
"""What is left to know about an item once its files are written; plain data."""


class Layout(Protocol):
    """A dataset layout on disk.

    ``write_item`` runs in worker processes, in any order; the rest runs in the main process.
    """

    def splits(self, spec: WorldSpec) -> dict[str, int]:
        """Return the number of items in each split, in the order they are written."""
        ...

    def prepare(self, folder: Path, spec: WorldSpec) -> None:
        """Make the folders."""
        ...

    def write_item(self, folder: Path, spec: WorldSpec, split: str, index: int) -> Record:
        """Write an item's files and return its record."""
        ...

    def finish(
        self, folder: Path, spec: WorldSpec, split: str, records: list[Record]
    ) -> dict[str, Any]:
        """Write what covers a whole split and return its statistics.

        Args:
            folder: The layout's own folder.
            spec: The world.
            split: Name of the split.
            records: One per item, in order.
        """
        ...

    def problem(self, folder: Path, spec: WorldSpec) -> str | None:
        """Return what a world on disk lacks, ``None`` when all is there."""
        ...


def write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    """Write an RGB image, uint8 [H, W, 3]."""
    params = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), params)
    if not done:
        raise ToyWorldError(f'{path.name} cannot be encoded as JPEG')
    path.write_bytes(data.tobytes())


def credits_of(spec: WorldSpec, split: str, records: list[Record]) -> list[dict[str, str]]:
    """Return name, package, path and credit of all sources that records name under 'sources'."""
    photos = load_photos('val' if split == 'val' else 'train')
    known = {photo.source.name: photo.source for photo in photos}
    known |= {c.source.name: c.source for c in load_cutouts(spec.classes)}
    used = sorted({name for record in records for name in record['sources']})
    keys = ('name', 'package', 'path', 'credit')
    return [{key: getattr(known[name], key) for key in keys} for name in used]
