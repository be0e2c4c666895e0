"""Runs the stages of a suite: what is done is not done again, what needs nothing failed goes on."""

import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from lightvit_dense.utils.progress import Progress, clock, parse_line

from .collect import forget_unreadable
from .executors import LocalExecutor, SlurmExecutor
from .plan import SuitePlan
from .stages import Stage, StageError, exclusive, forget, is_done, read_record

Line = Callable[[str], object]
Executor = LocalExecutor | SlurmExecutor


class JobsError(RuntimeError):
    """Some stages failed; those that needed them are left; the others ran."""

    def __init__(self, failed: Collection[StageError], left: Sequence[str]) -> None:
        words = [f'{len(failed)} of the runs failed:', *map(str, failed)]
        if left:
            words.append(f'Not run, because they need one of them: {", ".join(left)}.')
        super().__init__('\n'.join([*words, 'The same command tries again what is not done.']))


class Runner:
    """Runs stages as their needs are done; ``on_progress`` gets what ended, ``show`` what runs."""

    def __init__(
        self,
        stages: Sequence[Stage],
        executor: Executor,
        on_progress: Line = print,
        show: Line = lambda line: None,
        poll: float = 0.5,
    ) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.executor, self.on_progress, self.show, self.poll = executor, on_progress, show, poll
        self.done: set[str] = set()
        self.failed: dict[str, StageError] = {}
        self.took: dict[str, float] = {}  # seconds of those that ran now, on this machine as it is
        self.running: dict[str, _Running] = {}
        self._began = time.monotonic()

    def run(self) -> list[str]:
        """Run what is not done; return the names of what ran now, at the end raise a JobsError."""
        self.done = {name for name, stage in self.stages.items() if is_done(stage)}
        if self.done:
            self.on_progress(f'{len(self.done)} of {len(self.stages)} runs were done before')
        waiting = [stage for name, stage in self.stages.items() if name not in self.done]
        self._started([stage for stage in waiting if self.executor.adopt(stage)], waiting)
        try:
            while True:
                while chosen := self.executor.choose(waiting, self.done):
                    self.executor.submit(chosen)
                    self._started(chosen, waiting)
                if not self.running:
                    break  # what is left needs a stage that failed
                self._look()
        finally:
            self.executor.close()
        if self.failed:
            left = [name for name in self.stages if name not in self.done | set(self.failed)]
            raise JobsError(self.failed.values(), left)
        return list(self.took)

    def _started(self, stages: Sequence[Stage], waiting: list[Stage]) -> None:
        for stage in stages:
            waiting.remove(stage)
            self.running[stage.name] = _Running(stage)

    def _look(self) -> None:
        """Wait a little; note what ended and show what runs."""
        time.sleep(self.poll)
        for name, messages in self.executor.ended().items():
            stage = self.running.pop(name).stage
            record = read_record(stage)
            if is_done(stage):
                self.done.add(name)
                self.took[name] = record.seconds if record else 0.0
                self.on_progress(self._line(f'{stage.title}: {clock(self.took[name])}'))
                continue
            self.executor.cancel(stage)  # what is left of it
            if set(stage.after) <= self.done:
                reason = (record.error if record else '') or f'it was stopped, see {messages}'
                self.failed[name] = StageError(stage, reason)
                self.on_progress(self._line(f'{stage.title}: FAILED, see {stage.log}'))
        if self.running:
            for run in self.running.values():
                run.follow()
            self.show(self._line('; '.join(run.position() for run in self.running.values())))

    def _line(self, message: str) -> str:
        left = remaining(self.stages.values(), self.done, self.took, self.running)
        words = [f'elapsed {clock(time.monotonic() - self._began)}']
        if left is not None:
            words.append(f'about {clock(left / self.executor.width)} left')
        return f'[{len(self.done)}/{len(self.stages)}] {message} | {", ".join(words)}'


class _Running:
    """A stage that runs, and how far its log says it is."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.progress, self._rest = stage, Progress(0, 0), ''
        self._offset = stage.log.stat().st_size if stage.log.is_file() else 0
        self._began = time.monotonic()

    def follow(self) -> None:
        """Read what the log gained."""
        if not self.stage.log.is_file():
            return
        with self.stage.log.open('rb') as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        lines = (self._rest + data.decode('utf-8', 'replace')).replace('\r', '\n').split('\n')
        self._rest = lines.pop()
        for line in lines:
            found = parse_line(line, self.stage.epochs)
            # A bare "3/4" counts only as long as nothing better was seen.
            if found is not None and (found.phase or not self.progress.phase):
                self.progress = found

    def position(self) -> str:
        """Return what it is and how far."""
        return f'{self.stage.title} {self.progress}'.rstrip()

    def spent(self) -> float:
        """Return the seconds since it was started or found."""
        return time.monotonic() - self._began

    def whole(self) -> float | None:
        """Return about how many seconds it takes in all; None while nothing is known."""
        part = self.progress.fraction if self.progress.phase in ('', 'train') else 0.0
        return self.spent() / part if part > 0.02 else None


def remaining(
    stages: Collection[Stage],
    done: Collection[str],
    took: Mapping[str, float],
    running: Mapping[str, Any] = MappingProxyType({}),
) -> float | None:
    """Return the seconds of work left, by what stages of the same group take; None if unknown."""
    seconds = dict(took) | {name: whole for name, run in running.items() if (whole := run.whole())}
    known: dict[str | None, list[float]] = {}
    for stage in stages:
        if stage.name in seconds:
            known.setdefault(stage.group, []).append(seconds[stage.name])
    if not known:
        return None
    typical = fmean(value for values in known.values() for value in values)
    left = 0.0
    for stage in stages:
        if stage.name not in done:
            kind = fmean(known.get(stage.group, [typical]))
            spent = running[stage.name].spent() if stage.name in running else 0.0
            left += max(0.0, seconds.get(stage.name, kind) - spent)
    return left


def status_line(interval: float = 10.0) -> tuple[Line, Line]:
    """Return what shows a line that stays, and one that the next takes the place of."""
    terminal, told = sys.stdout.isatty(), time.monotonic()
    clear = '\r\033[K' if terminal else ''

    def on_progress(line: str) -> None:
        print(clear + line, flush=True)

    def show(line: str) -> None:
        nonlocal told
        if terminal:
            width = shutil.get_terminal_size().columns - 1
            print(clear + line[:width], end='', flush=True)
        elif time.monotonic() - told >= interval:
            told = time.monotonic()
            on_progress(line)

    return on_progress, show


def run_suite(
    plan: SuitePlan,
    finish: Callable[[], None],
    make_executor: Callable[[Mapping[str, str]], Executor],
    fresh: bool = False,
    on_progress: Line = print,
    show: Line = lambda line: None,
    poll: float = 0.5,
) -> int:
    """Run what is not done, then ``finish``, also when a run failed or the user interrupts.

    ``make_executor`` is given the variables of the runs' environment, ``fresh`` forgets what was
    done; for the rest see :class:`Runner`. Returns the exit status: 0, 1 after a failure, 130 when
    interrupted.
    """
    status = 0
    try:
        with exclusive(Path(plan.work_dir)):
            env = {'PYTHONUNBUFFERED': '1', 'LIGHTVIT_DATA': str(plan.data_root)}
            executor, stages = make_executor(env), plan.in_order()
            for stage in stages if fresh else ():
                executor.cancel(stage)
                forget(stage)
            for name in forget_unreadable(plan):
                on_progress(f'{name}: its results are half-written; it runs again')
            try:
                Runner(stages, executor, on_progress, show, poll).run()
            except JobsError as error:
                print(f'\n{error}', file=sys.stderr)
                status = 1
            except KeyboardInterrupt:
                print('\nStopped. The same command continues from here.', file=sys.stderr)
                status = 130
            finish()
    except RuntimeError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    return status
