"""What a data set has to teach: counted, logged as a table, refused if it is nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.logging import print_log

from lightvit_dense.utils.tables import format_table

from .errors import DatasetError

SHOWN = 50
"""So many classes a table lists; the others are summed up."""


@dataclass
class Contents:
    """Images and objects (or pixels) of every class, and what is not learnt from."""

    name: str  # what messages call the data set: its annotation file, or its folder
    unit: str  # 'objects' or 'pixels'
    images: int
    classes: list[tuple[str, int, int]]  # name, images that have it, objects or pixels of it
    dropped: dict[str, int] = field(default_factory=dict)  # faulty: reason -> objects or pixels
    aside: dict[str, int] = field(default_factory=dict)  # left out on purpose: reason -> number

    @property
    def total(self) -> int:
        """Objects or pixels that are left to learn from."""
        return sum(amount for _, _, amount in self.classes)

    @property
    def absent(self) -> list[str]:
        """Classes that never occur."""
        return [name for name, _, amount in self.classes if not amount]

    def table(self) -> str:
        """Return all of it as aligned text."""
        listed: list[tuple[str, int | str, int]] = list(self.classes[:SHOWN])
        if rest := self.classes[SHOWN:]:
            listed.append((f'{len(rest)} more classes', '', sum(amount for *_, amount in rest)))
        listed.append(('all', self.images, self.total))
        listed += [(f'dropped: {why}', '', n) for why, n in self.dropped.items() if n]
        listed += [(f'left out: {why}', '', n) for why, n in self.aside.items() if n]
        columns = ('class', 'images', self.unit)
        return format_table([dict(zip(columns, row, strict=True)) for row in listed], columns)

    def log(self) -> None:
        """Log the table (on the main process alone), and name the classes that never occur."""
        print_log(f'{self.name}: what there is to learn\n{self.table()}', logger='current')
        if text := name_absent(self.name, self.absent, len(self.classes)):
            print_log(text, logger='current', level=30)

    def check(self, max_dropped: float, remedy: str = '') -> None:
        """Check that something is left.

        Args:
            max_dropped: Greatest share in [0, 1] that may be dropped.
            remedy: What the user can do, as a sentence.

        Raises:
            DatasetError: If nothing is left, or more than ``max_dropped`` was dropped.
        """
        dropped = sum(self.dropped.values())
        reasons = {**self.dropped, **self.aside}
        why = '; '.join(f'{number} {reason}' for reason, number in reasons.items() if number)
        if not self.total:
            found = f' Left out are {why}.' if why else ''
            raise DatasetError(
                f'{self.name}: nothing to learn from, no {self.unit} in {self.images} images.'
                f'{found} {remedy}'.rstrip()
            )
        share = dropped / (dropped + self.total)
        if share > max_dropped:
            raise DatasetError(
                f'{self.name}: {share:.0%} of its {self.unit} would be dropped, more than '
                f'max_dropped={max_dropped:g} of the data set ({why}). '
                f'{remedy or "Correct the labels, or raise max_dropped."}'
            )


def name_absent(name: str, absent: Sequence[str], classes: int) -> str:
    """Return a warning that names classes without a single object or pixel, '' if there is none."""
    if not absent:
        return ''
    more = ', ...' if len(absent) > 10 else ''
    return (
        f'{name}: {len(absent)} of {classes} classes never occur: {", ".join(absent[:10])}{more}. '
        'Nothing is learnt of them, and no metric counts them.'
    )
