"""How far a subprocess is: read from its log lines, shown as bars or as a line now and then."""

import re
import sys
import time
from dataclasses import dataclass
from typing import TextIO

_ITERATION = re.compile(
    r'(?:Epoch|Iter)\((?P<phase>\w+)\)\s*(?:\[\s*(?P<epoch>\d+)\])?'
    r'\s*\[\s*(?P<done>\d+)/\s*(?P<total>\d+)\]'
)
# mmengine's lines begin with a date, and only some of them tell a position.
_STAMP = re.compile(r'\d\d/\d\d \d\d:\d\d:\d\d - ')
_COUNT = re.compile(r'(?<![\d/.])(\d+)\s*/\s*(\d+)(?![\d/.])')
_LOSS = re.compile(r'\bloss: ([\d.einfa+-]+)')


@dataclass(frozen=True)
class Progress:
    """Position of a process."""

    done: int
    total: int
    phase: str = ''  # 'train', 'val', 'test' or none
    note: str = ''  # what else the line tells, such as the loss

    @property
    def fraction(self) -> float:
        """Part done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def __str__(self) -> str:
        count = f'{self.done}/{self.total}' if self.total else ''
        return ' '.join(word for word in (self.phase, count, self.note) if word)


def parse_line(line: str, epochs: int | None = None) -> Progress | None:
    """Read the position from a log line.

    Args:
        line: A line of mmengine's log, or any line with ``done/total`` in it.
        epochs: Number of epochs of an epoch-based run; makes its counts those of the whole run.

    Returns:
        The position, or None if the line tells none.
    """
    match = _ITERATION.search(line)
    if match is None:
        count = None if _STAMP.match(line) else _COUNT.search(line)
        if count is None or not 0 <= int(count[1]) <= int(count[2]) or int(count[2]) == 0:
            return None
        return Progress(int(count[1]), int(count[2]))
    done, total, phase = int(match['done']), int(match['total']), match['phase']
    if phase == 'train' and match['epoch'] and epochs:
        done, total = done + (int(match['epoch']) - 1) * total, total * epochs
    loss = _LOSS.search(line)
    return Progress(done, total, phase, f'loss {loss[1]}' if loss else '')


def clock(seconds: float | None) -> str:
    """Return ``m:ss`` or ``h:mm:ss``; a dash for None."""
    if seconds is None:
        return '-'
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'


class Eta:
    """Remaining time from the rate since the first report; survives a start in the middle."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def __call__(self, fraction: float, now: float) -> float | None:
        """Return the seconds left at part ``fraction`` and time ``now``, or None while unknown."""
        if self._first is None or fraction < self._first[1]:
            self._first = (now, fraction)
        started, base = self._first
        if fraction <= base:
            return None
        return (1 - fraction) * (now - started) / (fraction - base)


class LineDisplay:
    """For files and pipes: a line at start and end of a step, and one every ``interval`` seconds.

    Args:
        interval: Seconds between two lines.
        stream: Where to write; standard output by default.
    """

    def __init__(self, interval: float = 10.0, stream: TextIO | None = None) -> None:
        self.interval = interval
        self.stream = stream or sys.stdout
        self._began = self._last = time.monotonic()
        self._head = ''
        self._eta = Eta()

    def start(self, index: int, count: int, title: str) -> None:
        """Announce a step; ``index`` counts from 1."""
        self._head, self._eta, self._last = f'[{index}/{count}] {title}', Eta(), time.monotonic()
        self._print('started')

    def update(self, progress: Progress | None) -> None:
        """Print the position if the last line is old enough."""
        now = time.monotonic()
        left = self._eta(progress.fraction, now) if progress else None
        if now - self._last >= self.interval:
            self._last = now
            self._print(f'{progress} eta {clock(left)}' if progress else 'running')

    def finish(self, message: str) -> None:
        """Print how the step ended."""
        self._print(message)

    def close(self) -> None:
        """Do nothing."""

    def _print(self, message: str) -> None:
        elapsed = clock(time.monotonic() - self._began)
        print(f'{self._head}: {message} | elapsed {elapsed}', file=self.stream, flush=True)


class BarDisplay:
    """For terminals: a bar for all steps and one for the current."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[note]}'))
        self._bars = Bars(*columns, TimeElapsedColumn())
        self._bars.start()
        self._overall = self._bars.add_task('all stages', total=None, note='')
        self._stage = self._bars.add_task('', total=None, note='')
        self._eta, self._position, self._title = Eta(), (0, 0), ''

    def start(self, index: int, count: int, title: str) -> None:
        """Start a fresh bar; ``index`` counts from 1."""
        self._eta, self._position = Eta(), (index, count)
        self._title = f'[{index}/{count}] {title}'
        self._bars.remove_task(self._stage)
        self._stage = self._bars.add_task(self._title, total=None, note='')
        note = f'{index - 1}/{count}'
        self._bars.update(self._overall, total=count, completed=index - 1, note=note)

    def update(self, progress: Progress | None) -> None:
        """Move the bars."""
        if progress is None:
            return
        note = f'{progress} eta {clock(self._eta(progress.fraction, time.monotonic()))}'
        self._bars.update(self._stage, total=progress.total, completed=progress.done, note=note)
        self._bars.update(self._overall, completed=self._position[0] - 1 + progress.fraction)

    def finish(self, message: str) -> None:
        """Leave one line about the step above the bars."""
        index, count = self._position
        self._bars.console.print(f'{self._title}: {message}', highlight=False, markup=False)
        self._bars.update(self._overall, completed=index, note=f'{index}/{count}')

    def close(self) -> None:
        """Remove the bars."""
        self._bars.stop()


Display = LineDisplay | BarDisplay


def make_display(stream: TextIO | None = None) -> Display:
    """Return bars for a terminal, lines for anything else."""
    stream = stream or sys.stdout
    return BarDisplay() if stream.isatty() else LineDisplay(stream=stream)


class StageReporter:
    """Shows on the error stream stages that tell (title, steps done, steps in all); a context.

    Args:
        count: Number of stages; None where it is not known before.
    """

    def __init__(self, count: int | None = None) -> None:
        self.display = make_display(sys.stderr)
        self.count, self.number, self.title = count, 0, ''

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show a position."""
        if title != self.title:
            if self.title:
                self.display.finish('done')
            self.title, self.number = title, self.number + 1
            self.display.start(self.number, self.count or self.number, title)
        self.display.update(Progress(done, total))

    def __enter__(self) -> 'StageReporter':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.title and kind is None:
            self.display.finish('done')
        self.display.close()
