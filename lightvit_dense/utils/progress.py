"""How far a process is: read from its log lines, shown as a bar or as a line now and then."""

import re
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

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
    """Read the position from a log line, None without; ``epochs`` makes it the whole run's."""
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


class Display:
    """Shows the position in steps: a bar on a terminal, else a line every ``interval`` seconds."""

    def __init__(
        self, stream: TextIO | None = None, count: int | None = None, interval: float = 10.0
    ) -> None:
        self.stream, self.count, self.interval = stream or sys.stdout, count, interval
        self.bars: Bars | None = None
        if self.stream.isatty():
            columns = ('{task.description}', BarColumn(), '{task.fields[note]}')
            self.bars = Bars(*columns, TimeElapsedColumn(), console=Console(file=self.stream))
            self._bar = self.bars.add_task('', total=None, note='')
            self.bars.start()
        self._began = self._last = time.monotonic()
        self._number, self._title, self._head = 0, '', ''
        self._first: tuple[float, float] | None = None  # time and part of the first report

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show a position; another title begins the next step."""
        if title != self._title:
            if self._title:
                self.finish('done')
            self._title, self._number = title, self._number + 1
            self.start(self._number, self.count or self._number, title)
        self.update(Progress(done, total))

    def __enter__(self) -> 'Display':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._title and kind is None:
            self.finish('done')
        self.close()

    def start(self, index: int, count: int, title: str) -> None:
        """Announce a step; ``index`` counts from 1."""
        self._head, self._first, self._last = f'[{index}/{count}] {title}', None, time.monotonic()
        if self.bars:
            self.bars.remove_task(self._bar)
            self._bar = self.bars.add_task(self._head, total=None, note='')
        else:
            self._print('started')

    def update(self, progress: Progress) -> None:
        """Move the bar, or print the position if the last line is old enough."""
        now, part = time.monotonic(), progress.fraction
        if self._first is None or part < self._first[1]:
            self._first = (now, part)
        # Whatever was done before the first report took no time here.
        began, base = self._first
        left = (1 - part) * (now - began) / (part - base) if part > base else None
        note = f'{progress} eta {clock(left)}'
        if self.bars:
            done, total = progress.done, progress.total
            self.bars.update(self._bar, completed=done, total=total, note=note)
        elif now - self._last >= self.interval:
            self._last = now
            self._print(note)

    def finish(self, message: str) -> None:
        """Leave a line about how the step ended."""
        self._print(message)

    def close(self) -> None:
        """End the bar."""
        if self.bars:
            self.bars.stop()

    def _print(self, message: str) -> None:
        line = f'{self._head}: {message} | elapsed {clock(time.monotonic() - self._began)}'
        if self.bars:
            self.bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.stream, flush=True)
