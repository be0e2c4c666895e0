"""Several trackers side by side: tables for terminals, CSV, plots, and plain data for JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightvit_dense.errors import require_known
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.tables import format_table, to_csv

from ..datasets.whole import SequenceDataset
from .collect import TrackerResults
from .got10k import AVERAGES, Overlaps, frame_size, overlaps, truth_of
from .ope import Rows, Scores, score
from .plots import write_attribute_plots, write_plots
from .protocol import Protocol
from .truth import Truth


class Report:
    """What an evaluation says of several trackers."""

    main: ClassVar[str]  # the figure that ranks
    protocol = Protocol()  # what predictions have to be
    truth: Any = staticmethod(Truth.of)
    judge: Callable[[TrackerResults, Sequence[Truth], SequenceDataset], Any]

    def __init__(self) -> None:
        self.rows: Rows = []  # of the overview, a tracker each, the best one first
        self.found: dict[str, Any] = {}  # by tracker its Scores or Overlaps
        self.title = ''

    def plot(self, folder: Path) -> list[Path]:
        """Write plots of all trackers, over all sequences and over those of each attribute."""
        paths = write_plots(self.found, folder, self.title)
        return paths + write_attribute_plots(self.found, folder / 'attributes')

    def score(
        self, trackers: Sequence[TrackerResults], truths: Sequence[Truth], source: SequenceDataset
    ) -> None:
        """Judge all trackers by the sequences that count; the source has them and more."""
        self.title = ', '.join(dict.fromkeys(str(entry.name) for entry in source.sets))
        for tracker in trackers:
            found = self.found[tracker.name] = self.judge(tracker, truths, source)
            speed = tracker.speed()
            self.rows.append({'tracker': tracker.name, **found.figures(), 'frames/s': speed})
        self.rows.sort(key=lambda row: -row[self.main])

    def overview(self, title: str) -> str:
        """Set the figures of all trackers in a table for a terminal."""
        rows = self.rows
        if all(row['frames/s'] is None for row in rows):
            rows = [{k: v for k, v in row.items() if k != 'frames/s'} for row in rows]
        return _table(title, rows)

    def by(self, kind: str) -> Rows:
        """Return rows by sequence, class or attribute; of each all trackers, the best one first."""
        ranked = [row['tracker'] for row in self.rows]
        together = zip(*(self.found[name].rows(kind) for name in ranked), strict=True)
        return [
            {kind: row[kind], 'tracker': name, **row}
            for rows in together
            for name, row in zip(ranked, rows, strict=True)
        ]

    def table(self, kind: str) -> str | None:
        """Set these rows in a table for a terminal; None if there are none."""
        rows = self.by(kind)
        return _table(f'By {kind}, in percent', rows) if rows else None

    def write(self, folder: str | Path) -> list[Path]:
        """Write plots and tables into a folder, which is made; return the files."""
        folder = Path(folder)
        tables = {'trackers': self.rows}
        tables |= {f'by_{kind}': self.by(kind) for kind in ('sequence', 'class', 'attribute')}
        paths = self.plot(folder)
        for name, rows in tables.items():
            if rows:
                paths.append(folder / f'{name}.csv')
                text = to_csv([*rows[0]], [[*row.values()] for row in rows])
                atomic_write(paths[-1], text.encode())
        return paths

    def content(self) -> dict[str, Any]:
        """Return figures, curves and tables of all trackers as plain data."""
        speeds = {row['tracker']: row['frames/s'] for row in self.rows}
        return {
            'trackers': {
                name: {**found.describe(), 'frames_per_s': speeds[name]}
                for name, found in self.found.items()
            }
        }


class OPEReport(Report):
    """One-pass evaluation by a protocol."""

    main = 'success'

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol

    def judge(
        self, tracker: TrackerResults, truths: Sequence[Truth], source: SequenceDataset
    ) -> Scores:
        """Judge a tracker; an error names file and line of a box."""

        def place(name: str, frame: int) -> str:
            return f'{tracker.files[name][0]}, line {frame + 1}'

        return score([tracker.boxes[t.name][0] for t in truths], truths, self.protocol, place)


class GOT10kReport(Report):
    """GOT-10k's average overlap and success rates; see :class:`GOT10kMetric` for the options."""

    main = 'AO'
    truth = staticmethod(truth_of)

    def __init__(self, average: str = 'frames', clip: bool = True) -> None:
        super().__init__()
        require_known(average, AVERAGES, 'average')
        self.average, self.clip = average, clip
        self.sizes: dict[str, tuple[int, int] | None] = {}

    def judge(
        self, tracker: TrackerResults, truths: Sequence[Truth], source: SequenceDataset
    ) -> Overlaps:
        """Judge a tracker, all repetitions together."""
        for place, name in enumerate(source.names):
            if name in tracker.boxes and name not in self.sizes:
                self.sizes[name] = frame_size(source.sequence(place)) if self.clip else None
        runs = [(boxes, truth) for truth in truths for boxes in tracker.boxes[truth.name]]
        boxes, judges = zip(*runs, strict=True)
        return overlaps(boxes, judges, [self.sizes[t.name] for t in judges], self.average)

    def plot(self, folder: Path) -> list[Path]:
        """Write the success plot of all trackers."""
        return write_plots(self.found, folder, self.title, ('success',))


def _table(title: str, rows: Rows) -> str:
    shown = [{k: '-' if v is None else v for k, v in row.items()} for row in rows]
    return f'{title}\n{format_table(shown, [*rows[0]], digits=1)}\n'
