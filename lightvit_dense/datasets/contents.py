"""Class statistics of a data set: logged as a table, and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.logging import print_log

from lightvit_dense.utils.tables import format_table

from .errors import DatasetError

SHOWN = 50
"""Most classes that a table lists; the others are summed up."""


@dataclass
class Contents:
    """Images and objects (or pixels) of every class, and those that are left out."""

    name: str  # what messages call the data set: its annotation file, or its folder
    unit: str  # 'objects' or 'pixels'
    images: int
    classes: list[tuple[str, int, int]]  # name, images that have it, objects or pixels of it
    dropped: dict[str, int] = field(default_factory=dict)  # faulty: reason -> objects or pixels
    aside: dict[str, int] = field(default_factory=dict)  # left out on purpose: reason -> number

    @property
    def total(self) -> int:
        """Objects or pixels of all classes."""
        return sum(amount for _, _, amount in self.classes)

    @property
    def absent(self) -> list[str]:
        """Classes that never occur."""
        return [name for name, _, amount in self.classes if not amount]

    def table(self) -> str:
        """Return the statistics as aligned text; of many classes those that occur."""
        few = len(self.classes) <= SHOWN
        rows = [row for row in self.classes if few or row[2]]
        listed: list[tuple[str, int | str, int]] = [*rows[:SHOWN]]
        if rest := rows[SHOWN:]:
            listed.append((f'{len(rest)} more classes', '', sum(amount for *_, amount in rest)))
        listed.append(('all', self.images, self.total))
        listed += [(f'dropped: {why}', '', n) for why, n in self.dropped.items() if n]
        listed += [(f'left out: {why}', '', n) for why, n in self.aside.items() if n]
        columns = ('class', 'images', self.unit)
        return format_table([dict(zip(columns, row, strict=True)) for row in listed], columns)

    def log(self, warn: bool = True) -> None:
        """Log the table, and warn of classes that never occur; on the main process alone."""
        print_log(f'{self.name}: class statistics\n{self.table()}', logger='current')
        text = name_absent(self.name, self.absent, len(self.classes))
        if warn and text:
            print_log(text, logger='current', level=30)

    def check(self, max_dropped: float, remedy: str = '') -> None:
        """Raise DatasetError, with a ``remedy``, if nothing is left or too much was dropped."""
        dropped, reasons = sum(self.dropped.values()), {**self.dropped, **self.aside}
        why = '; '.join(f'{number} {reason}' for reason, number in reasons.items() if number)
        if not self.total:
            found = f' Left out: {why}.' if why else ''
            text = f'{self.name}: no usable {self.unit} in {self.images} images.{found} {remedy}'
            raise DatasetError(text.rstrip())
        share = dropped / (dropped + self.total)
        if share > max_dropped:
            raise DatasetError(
                f'{self.name}: {share:.0%} of its {self.unit} would be dropped, more than '
                f'max_dropped={max_dropped:g} of the data set ({why}). '
                f'{remedy or "Correct the labels, or raise max_dropped."}'
            )


def name_absent(name: str, absent: Sequence[str], classes: int) -> str:
    """Return a warning that names classes without an object or pixel; '' if there are none."""
    if not absent:
        return ''
    more = ', ...' if len(absent) > 10 else ''
    return (
        f'{name}: {len(absent)} of {classes} classes never occur: {", ".join(absent[:10])}{more}. '
        'They are not trained, and metrics do not count them.'
    )
