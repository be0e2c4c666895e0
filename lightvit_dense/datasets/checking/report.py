"""What a check of a data set found."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

SHOWN = 3
"""How many files a problem names."""


@dataclass(frozen=True)
class Request:
    """What to check.

    Attributes:
        splits: Of 'train' and 'val', or whatever the set calls them; None for all.
        samples: How many files of each part to open, evenly spaced.
        full: Whether to open all files.
        workers: Threads that read and decode.
        progress: Told how far it is.
    """

    splits: tuple[str, ...] | None = None
    samples: int = 32
    full: bool = False
    workers: int = 4
    progress: Progress = lambda what, done, total: None

    def wants(self, split: str) -> bool:
        """Whether a split is to be checked."""
        return self.splits is None or split in self.splits

    def places(self, count: int) -> list[int]:
        """Return which of so many files to open."""
        if self.full or count <= self.samples:
            return list(range(count))
        if self.samples < 2:
            return list(range(self.samples))
        return [place * (count - 1) // (self.samples - 1) for place in range(self.samples)]


@dataclass(frozen=True)
class Row:
    """How many of something there are.

    Attributes:
        part: What is counted.
        found: How many there are.
        expected: How many were published or built, None if that is not known.
        opened: How many of them were opened.
    """

    part: str
    found: int
    expected: int | None = None
    opened: int = 0

    @property
    def state(self) -> str:
        """In words: 'missing', 'complete', 'a subset', 'more than expected' or 'there'."""
        if not self.found:
            return 'missing'
        if self.expected is None:
            return 'there'
        if self.found == self.expected:
            return 'complete'
        return 'a subset' if self.found < self.expected else 'more than expected'


@dataclass(frozen=True)
class Problem:
    """Something that has to be put right.

    Attributes:
        kind: 'missing' or 'damaged'.
        what: The thing.
        remedy: What to do.
        files: The files it is about.
    """

    kind: str
    what: str
    remedy: str
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ', '.join(self.files[:SHOWN]) + (', ...' if len(self.files) > SHOWN else '')
        return f'{self.kind}: {self.what}{f" ({shown})" if shown else ""}. {self.remedy}'


@dataclass
class Report:
    """Everything found.

    Attributes:
        name: Name of the data set.
        root: Where it was looked for.
        rows: Counts.
        problems: What is missing or damaged.
        notes: What is worth knowing and no problem.
    """

    name: str
    root: str
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing and nothing damaged; a subset is legal."""
        return not self.problems

    def count(self, part: str, found: int, expected: int | None = None, opened: int = 0) -> None:
        """Add a count."""
        self.rows.append(Row(part, found, expected, opened))

    def missing(self, what: str, remedy: str, files: Sequence[str] = ()) -> None:
        """Add something that is missing."""
        self.problems.append(Problem('missing', what, remedy, tuple(files)))

    def damaged(self, what: str, remedy: str, files: Sequence[str] = ()) -> None:
        """Add something that is damaged."""
        self.problems.append(Problem('damaged', what, remedy, tuple(files)))

    def note(self, text: str) -> None:
        """Add a remark."""
        self.notes.append(text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        rows = [{**asdict(row), 'state': row.state} for row in self.rows]
        problems = [asdict(problem) for problem in self.problems]
        return {
            'name': self.name,
            'root': self.root,
            'ok': self.ok,
            'rows': rows,
            'problems': problems,
            'notes': self.notes,
        }
