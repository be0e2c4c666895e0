"""What a check of a data set is asked, and what it found."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..errors import DatasetError
from ..transforms.loading import BadImage, decode

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

SHOWN = 3
"""How many files a problem names."""

T = TypeVar('T')


@dataclass(frozen=True)
class Request:
    """What to check."""

    splits: tuple[str, ...] | None = None  # of 'train', 'val', 'test'; None for all
    samples: int = 32  # how many files of each part to open, evenly spaced
    full: bool = False  # whether to open all files
    workers: int = 4  # threads that read and decode
    progress: Progress = lambda what, done, total: None

    def wants(self, split: str) -> bool:
        """Whether a split is to be checked."""
        return self.splits is None or split in self.splits

    def places(self, count: int) -> list[int]:
        """Return which of so many files to open."""
        chosen = count if self.full else min(count, self.samples)
        return [place * (count - 1) // max(1, chosen - 1) for place in range(chosen)]


@dataclass(frozen=True)
class Row:
    """How many of something there are."""

    part: str
    found: int
    expected: int | None = None  # how many were published or built, None if that is not known
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
    """Something that has to be put right."""

    kind: str  # 'missing' or 'damaged'
    what: str
    remedy: str
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ', '.join(self.files[:SHOWN]) + (', ...' if len(self.files) > SHOWN else '')
        return f'{self.kind}: {self.what}{f" ({shown})" if shown else ""}. {self.remedy}'


@dataclass
class Report:
    """Everything found: counts, problems, and notes on what is worth knowing and no problem."""

    name: str
    root: str
    request: Request = field(default_factory=Request)
    remedy: str = ''  # of problems that have none of their own
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

    def missing(self, what: str, files: Sequence[str] = (), remedy: str = '') -> None:
        """Add something that is missing."""
        self.problems.append(Problem('missing', what, remedy or self.remedy, tuple(files)))

    def damaged(self, what: str, files: Sequence[str] = (), remedy: str = '') -> None:
        """Add something that is damaged."""
        self.problems.append(Problem('damaged', what, remedy or self.remedy, tuple(files)))

    def note(self, text: str) -> None:
        """Add a remark."""
        self.notes.append(text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {
            'name': self.name,
            'root': self.root,
            'rows': [asdict(row) | {'state': row.state} for row in self.rows],
            'problems': [asdict(problem) for problem in self.problems],
            'notes': self.notes,
            'ok': self.ok,
        }

    def open_some(
        self, items: Sequence[T], try_one: Callable[[T], Any], what: str, remedy: str = ''
    ) -> int:
        """Open a sample of files by ``try_one``; report damaged ones, return how many it were."""

        def attempt(item: T) -> str | None:
            try:
                try_one(item)
            except (BadImage, DatasetError, OSError) as error:
                return str(error)
            return None

        places = self.request.places(len(items))
        bad = []
        with ThreadPoolExecutor(max(1, self.request.workers)) as pool:
            results = pool.map(attempt, (items[place] for place in places))
            for done, reason in enumerate(results, 1):
                self.request.progress(f'opening {what}', done, len(places))
                if reason is not None:
                    bad.append(reason)
        if bad:
            self.damaged(f'{len(bad)} of {len(places)} {what} opened', bad, self.remedy or remedy)
        return len(places)


def open_image(read: Callable[[str], bytes], name: str) -> np.ndarray:
    """Decode an image, BGR uint8 [H, W, 3]; damage, or a doubt, is told with the file's name."""
    try:
        return decode(read(name))
    except BadImage as error:
        raise BadImage(f'{name}: {error}') from error
