"""What a layout has to offer: write one item at a time, anywhere, then put the records together."""

from pathlib import Path
from typing import Any, Protocol

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
