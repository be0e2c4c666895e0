"""The stages of a study, a few at a time: what depends on nothing that failed goes on."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from lightvit_dense.utils.progress import Progress, clock
from .stages import (
    Pipeline,
    Stage,
    StageError,
    exclusive,
    forget,
    is_done,
    read_record,
    stop_orphan,
)


class JobsError(RuntimeError):
    """Some stages failed; the others ran.

    Args:
        failed: Stage -> what went wrong.
        left: Stages that were not run because they needed one of those.
    """

    def __init__(self, failed: Mapping[str, Exception], left: Sequence[str]) -> None:
        words = [f'{len(failed)} of the runs failed:', *map(str, failed.values())]
        if left:
            words.append(f'Not run, because they need one of them: {", ".join(left)}.')
        super().__init__('\n'.join([*words, 'The same command tries again what is not done.']))


class _Watched:
    """A display that only remembers how far a stage is."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def start(self, index: int, count: int, title: str) -> None:
        """Do nothing."""

    def update(self, progress: Progress | None) -> None:
        """Remember the position."""
        self.progress = progress

    def finish(self, message: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class _Job:
    """A stage that runs, and where."""

    stage: Stage
    pipeline: Pipeline
    watched: _Watched
    slot: int


class JobPool:
    """Runs stages by :class:`~lightvit_dense.suite.stages.Pipeline`, several at a time.

    Args:
        stages: All stages; one comes after those it needs.
        jobs: How many run at a time; the cores are shared out among them.
        env: Environment of the subprocesses; this process's by default.
        cwd: Folder in which they run.
        tell: Takes the lines about progress.
        interval: Seconds between two lines about what runs.
        poll: Seconds between two looks at a subprocess.
        slots: Variables for the environment of each of the stages that run at the same time, such
            as the GPUs they may use. Their number replaces ``jobs``.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        jobs: int = 1,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        tell: Callable[[str], object] = print,
        interval: float = 60.0,
        poll: float = 0.5,
        slots: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.slots = list(slots) or [{}] * jobs
        jobs = len(self.slots)
        self.stages, self.jobs, self.cwd = list(stages), jobs, cwd
        self.tell, self.interval, self.poll = tell, interval, poll
        # Two processes of many threads on the same cores are many times slower than of one.
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        self.env = {
            **(os.environ if env is None else env),
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
        }
        self._free = list(range(jobs))
        self._running: dict[Future, _Job] = {}
        self._began = 0.0

    def run(self) -> list[str]:
        """Run what is not done.

        Returns:
            Names of the stages that were run now.

        Raises:
            JobsError: At the end, if a stage failed.
        """
        for stage in self.stages:
            record = read_record(stage)
            if record is not None:
                stop_orphan(record)  # two must not share the cores either
        self._began = time.monotonic()
        done = {stage.name for stage in self.stages if is_done(stage)}
        if done:
            self.tell(f'{len(done)} of {len(self.stages)} runs were done before')
        waiting = [stage for stage in self.stages if stage.name not in done]
        ran: list[str] = []
        failed: dict[str, Exception] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                told = time.monotonic()
                while waiting or self._running:
                    started = self._start(pool, waiting, done)
                    if not started and not self._running:
                        break  # what is left needs a stage that failed
                    told = self._wait(done, failed, ran, told)
            finally:
                self._stop_all()
        if failed:
            raise JobsError(failed, [stage.name for stage in waiting])
        return ran

    def _start(self, pool: ThreadPoolExecutor, waiting: list[Stage], done: set[str]) -> int:
        """Start as many stages as there is room for; take them off the list."""
        ready = [stage for stage in waiting if set(stage.after) <= done]
        chosen = ready[: self.jobs - len(self._running)]
        for stage in chosen:
            waiting.remove(stage)
            watched, slot = _Watched(), self._free.pop(0)
            env = {**self.env, **self.slots[slot]}
            pipeline = Pipeline(self.stages, watched, env, self.cwd, self.poll)
            future = pool.submit(pipeline.run, [stage.name])
            self._running[future] = _Job(stage, pipeline, watched, slot)
        return len(chosen)

    def _wait(
        self, done: set[str], failed: dict[str, Exception], ran: list[str], told: float
    ) -> float:
        """Wait a little, note what ended; return when the last line was told."""
        ended, _ = wait(self._running, timeout=self.poll, return_when=FIRST_COMPLETED)
        for future in ended:
            job = self._running.pop(future)
            stage = job.stage
            self._free.append(job.slot)
            error = future.exception()
            if error is None:
                done.add(stage.name)
                ran.append(stage.name)
                record = read_record(stage)
                self._line(done, ran, f'{stage.title}: {clock(record.seconds if record else 0)}')
            elif isinstance(error, StageError):
                failed[stage.name] = error
                self._line(done, ran, f'{stage.title}: FAILED, see {stage.log}')
            else:
                raise error
        now = time.monotonic()
        if ended:
            return now
        if now - told < self.interval:
            return told
        self._line(done, ran, 'running: ' + '; '.join(map(_position, self._running.values())))
        return now

    def _line(self, done: set[str], ran: Sequence[str], message: str) -> None:
        left = remaining(self.stages, done, ran)
        words = [f'elapsed {clock(time.monotonic() - self._began)}']
        if left is not None:
            words.append(f'about {clock(left / self.jobs)} left')
        self.tell(f'[{len(done)}/{len(self.stages)}] {message} | {", ".join(words)}')

    def _stop_all(self) -> None:
        """End what still runs; it can go on later."""
        while not all(future.done() for future in self._running):
            for job in self._running.values():
                job.pipeline.stop()
            wait(self._running, timeout=self.poll)
        self._running.clear()


def _position(job: _Job) -> str:
    at = job.watched.progress
    if at is None:
        return job.stage.title
    words = [job.stage.title, at.phase, f'{at.done}/{at.total}', at.note]
    return ' '.join(word for word in words if word)


def remaining(stages: Sequence[Stage], done: set[str], ran: Sequence[str]) -> float | None:
    """Return the seconds of work left, by what stages of the same group took; None if unknown.

    Args:
        stages: All stages.
        done: Names of those that are done.
        ran: Names of those that ran now, on this machine as it is.
    """
    took: dict[str | None, list[float]] = {}
    for stage in stages:
        record = read_record(stage) if stage.name in ran else None
        if record is not None:
            took.setdefault(stage.group, []).append(record.seconds)
    if not took:
        return None
    every = [seconds for those in took.values() for seconds in those]
    means = {group: sum(those) / len(those) for group, those in took.items()}
    typical = sum(every) / len(every)
    return sum(means.get(s.group, typical) for s in stages if s.name not in done)


def run_jobs(
    stages: Sequence[Stage],
    work_dir: Path,
    jobs: int,
    finish: Callable[[], None],
    fresh: bool = False,
    cwd: Path | None = None,
) -> int:
    """Run a tool's stages, then what makes results of them; say what went wrong.

    Args:
        stages: All stages.
        work_dir: Folder that one such run at a time may use.
        jobs: How many stages run at a time.
        finish: Called after all stages.
        fresh: Whether to forget what was done.
        cwd: Folder in which the stages run.

    Returns:
        The tool's exit status: 0, 1 after a failure, 130 when interrupted.
    """
    env = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    try:
        with exclusive(work_dir):
            for stage in stages if fresh else ():
                forget(stage)
            JobPool(stages, jobs, env, cwd, tell=lambda line: print(line, flush=True)).run()
            finish()
    except KeyboardInterrupt:
        print('\nStopped. The same command continues from here.', file=sys.stderr)
        return 130
    except (JobsError, RuntimeError) as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    return 0
