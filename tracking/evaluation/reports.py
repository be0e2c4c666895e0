"""Several trackers side by side: tables for terminals, CSV, plots, and plain data for JSON."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvit_dense.visualization.curves import save_png
from tracking.datasets.sequence import VideoSequence
from tracking.datasets.whole import SequenceDataset

from .collect import TrackerResults
from .got10k import THRESHOLDS, Overlaps, check_average, frame_size, overlaps, truth_of
from .ope import Scores, score
from .plots import overlap_plot, write_attribute_plots, write_plots
from .rules import Rules
from .tables import attribute_table, class_table, describe, sequence_table, write_csv
from .truth import Truth

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[dict[str, Any]]


class Report(ABC):
    """What a protocol says of several trackers.

    Attributes:
        rules: What predictions have to be.
        rows: Of the overview, a tracker each, the best one first.
    """

    rules: Rules
    main: str
    """The figure that ranks."""
    kinds: Mapping[str, Callable[[Any], Rows]]
    """How tables by sequence, class and attribute are made."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.found: dict[str, Any] = {}
        self.title = ''

    def truth(self, sequence: VideoSequence) -> Truth:
        """Take the annotation of a sequence."""
        return Truth.of(sequence)

    @abstractmethod
    def judge(self, tracker: TrackerResults, truths: Sequence[Truth]) -> Any:
        """Judge a tracker by these sequences."""

    @abstractmethod
    def describe(self, found: Any) -> dict[str, Any]:
        """Return all about a tracker as plain data."""

    @abstractmethod
    def plot(self, folder: Path) -> list[Path]:
        """Write plots of all trackers."""

    def score(
        self, trackers: Sequence[TrackerResults], truths: Sequence[Truth], source: SequenceDataset
    ) -> None:
        """Judge all trackers.

        Args:
            trackers: Their results.
            truths: Annotations of the sequences that count.
            source: The sequences themselves, and more of them.
        """
        self.title = ', '.join(dict.fromkeys(str(entry.name) for entry in source.sets))
        self.prepare(truths, source)
        for tracker in trackers:
            found = self.judge(tracker, truths)
            self.found[tracker.name] = found
            speed = tracker.speed()
            self.rows.append({'tracker': tracker.name, **found.figures(), 'frames/s': speed})
        self.rows.sort(key=lambda row: -row[self.main])

    def prepare(  # noqa: B027  most need nothing
        self, truths: Sequence[Truth], source: SequenceDataset
    ) -> None:
        """Look up what the protocol needs of the sequences besides their annotations."""

    def overview(self, title: str) -> 'Table':
        """Set the figures of all trackers in a table for a terminal."""
        rows = self.rows
        if all(row['frames/s'] is None for row in rows):
            rows = [{k: v for k, v in row.items() if k != 'frames/s'} for row in rows]
        return _table(title, rows)

    def by(self, kind: str) -> Rows:
        """Return rows by sequence, class or attribute; of each all trackers, the best one first."""
        make = self.kinds.get(kind)
        if make is None:
            return []
        ranked = [row['tracker'] for row in self.rows]
        together = zip(*(make(self.found[name]) for name in ranked), strict=True)
        return [
            {kind: row[kind], 'tracker': name, **row}
            for rows in together
            for name, row in zip(ranked, rows, strict=True)
        ]

    def table(self, kind: str) -> 'Table | None':
        """Set these rows in a table for a terminal; None if there are none."""
        rows = self.by(kind)
        return _table(f'By {kind}, in percent', rows) if rows else None

    def write(self, folder: str | Path) -> list[Path]:
        """Write plots and tables.

        Args:
            folder: Made if it is not there.

        Returns:
            The files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {'trackers': self.rows, 'by_sequence': self.by('sequence')}
        tables |= {f'by_{kind}': self.by(kind) for kind in ('class', 'attribute')}
        paths = self.plot(folder)
        for name, rows in tables.items():
            if rows:
                paths.append(folder / f'{name}.csv')
                write_csv(paths[-1], rows)
        return paths

    def content(self) -> dict[str, Any]:
        """Return figures, curves and tables of all trackers as plain data."""
        speeds = {row['tracker']: row['frames/s'] for row in self.rows}
        return {
            'trackers': {
                name: {**self.describe(found), 'frames_per_s': speeds[name]}
                for name, found in self.found.items()
            }
        }


class OPEReport(Report):
    """One-pass evaluation.

    Args:
        rules: The habits to follow.
    """

    main = 'success'
    kinds = {'sequence': sequence_table, 'class': class_table, 'attribute': attribute_table}

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules

    def judge(self, tracker: TrackerResults, truths: Sequence[Truth]) -> Scores:
        """Judge a tracker; an error names file and line of a box."""

        def place(name: str, frame: int) -> str:
            return f'{tracker.files[name][0]}, line {frame + 1}'

        return score([tracker.boxes[t.name][0] for t in truths], truths, self.rules, place)

    def describe(self, found: Scores) -> dict[str, Any]:
        """Return all about a tracker as plain data."""
        return describe(found)

    def plot(self, folder: Path) -> list[Path]:
        """Write plots of all trackers, over all sequences and over those of each attribute."""
        paths = write_plots(self.found, folder, self.title)
        return paths + write_attribute_plots(self.found, folder / 'attributes')


class GOT10kReport(Report):
    """GOT-10k's average overlap and success rates.

    Args:
        average: See :class:`Overlaps`.
        clip: Whether boxes are clipped to the frames.
    """

    main = 'AO'
    kinds = {'sequence': Overlaps.table}
    # What is no box is an error; lengths are checked with the truth.
    rules = Rules()

    def __init__(self, average: str = 'frames', clip: bool = True) -> None:
        super().__init__()
        check_average(average)
        self.average, self.clip = average, clip
        self.sizes: dict[str, tuple[int, int] | None] = {}

    def prepare(self, truths: Sequence[Truth], source: SequenceDataset) -> None:
        """Look up the sizes of the frames."""
        places = {name: place for place, name in enumerate(source.names)}
        for truth in truths:
            self.sizes[truth.name] = (
                frame_size(source.sequence(places[truth.name])) if self.clip else None
            )

    def truth(self, sequence: VideoSequence) -> Truth:
        """Take the annotation of a sequence."""
        return truth_of(sequence)

    def judge(self, tracker: TrackerResults, truths: Sequence[Truth]) -> Overlaps:
        """Judge a tracker."""
        runs = [(boxes, truth) for truth in truths for boxes in tracker.boxes[truth.name]]
        sizes = [self.sizes[truth.name] for _, truth in runs]
        boxes, judges = zip(*runs, strict=True)
        return overlaps(boxes, judges, sizes, self.average)

    def describe(self, found: Overlaps) -> dict[str, Any]:
        """Return all about a tracker as plain data."""
        return {
            'figures': found.figures(),
            'average': self.average,
            'clip': self.clip,
            'curves': {
                'thresholds': THRESHOLDS.tolist(),
                'success': (100 * found.curve()).tolist(),
            },
            'sequences': found.table(),
        }

    def plot(self, folder: Path) -> list[Path]:
        """Write plots of all trackers."""
        path = folder / 'success.png'
        save_png(overlap_plot(self.found, f'Success on {self.title}'), path)
        return [path]


def _table(title: str, rows: Rows) -> 'Table':
    from rich.table import Table

    table = Table(title=title, title_justify='left')
    for name in rows[0]:
        words = all(isinstance(row[name], str) for row in rows)
        table.add_column(name, justify='left' if words else 'right')
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return '-'
    return f'{value:.1f}' if isinstance(value, float) else str(value)
