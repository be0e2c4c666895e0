"""A chain of subprocesses that continues where it was stopped.

Each stage leaves ``stage.json`` in its folder with the key of everything its result depends on. A
stage whose key is unchanged is not run again; one whose key changed starts from an empty folder;
one that was cut short is started again with its ``resume`` arguments.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lightvit_dense.utils.memory import family_peak_mb

from lightvit_dense.utils.progress import Display, Progress, parse_line

MARKER = 'stage.json'
LOG = 'stage.log'


@dataclass(frozen=True)
class Stage:
    """One subprocess of the chain.

    Attributes:
        name: Short name, unique in the chain.
        title: What it does, for the display.
        work_dir: Its folder; log and marker are written there. Emptied when the key changed.
        key: Hash of everything the result depends on, see :func:`content_key`.
        command: Arguments of the subprocess.
        resume: Arguments added to continue a run that was cut short.
        outputs: Files without which a finished stage counts as not done.
        after: Names of the stages that must be done before.
        epochs: Number of epochs, for the progress of epoch-based runs.
        group: Neighbours of the same group run at the same time, the cores shared out among them;
            processes of one thread waste less than one process of many.
    """

    name: str
    title: str
    work_dir: Path
    key: str
    command: Sequence[str]
    resume: Sequence[str] = ()
    outputs: Sequence[Path] = ()
    after: Sequence[str] = ()
    epochs: int | None = None
    group: str | None = None

    @property
    def log(self) -> Path:
        """File that takes the output of the subprocess."""
        return self.work_dir / LOG


@dataclass
class StageRecord:
    """What ``stage.json`` holds.

    Attributes:
        key: Key of the stage that ran.
        done: Whether it ended well.
        seconds: Time spent, all attempts together.
        peak_memory_mb: Largest resident memory of its processes in MiB.
        command: The command line.
        attempts: How often it was started.
        pid: Process of the running attempt.
        started: When that process was created, to tell it from a later one of the same id.
    """

    key: str
    done: bool = False
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    command: list[str] = field(default_factory=list)
    attempts: int = 0
    pid: int | None = None
    started: float | None = None


class StageError(RuntimeError):
    """A stage failed.

    Args:
        stage: The stage.
        reason: One sentence.
        lines: Number of last log lines to show.
    """

    def __init__(self, stage: Stage, reason: str, lines: int = 25) -> None:
        tail = tail_lines(stage.log, lines)
        super().__init__(f'Stage {stage.name!r} failed: {reason}\n{tail}\nFull log: {stage.log}')
        self.stage = stage


class _StoppedError(Exception):
    """A stage was stopped because another one failed or the user asked to."""


def content_key(*parts: object) -> str:
    """Return a hash of JSON-able values: the same values give the same key on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tail_lines(path: Path, count: int) -> str:
    """Return the last lines of a text file, or a note that there is none."""
    if not path.is_file():
        return '(no output)'
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 64_000))
        lines = file.read().decode('utf-8', 'replace').splitlines()
    return '\n'.join(lines[-count:])


def read_record(stage: Stage) -> StageRecord | None:
    """Return what is known of earlier attempts; None if there were none or it is unreadable."""
    try:
        return StageRecord(**json.loads((stage.work_dir / MARKER).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None


def write_record(stage: Stage, record: StageRecord) -> None:
    """Write the marker atomically."""
    stage.work_dir.mkdir(parents=True, exist_ok=True)
    draft = stage.work_dir / (MARKER + '.tmp')
    draft.write_text(json.dumps(vars(record), indent=2), encoding='utf-8')
    os.replace(draft, stage.work_dir / MARKER)


def is_done(stage: Stage) -> bool:
    """Return whether the stage ended well with its present key and its outputs are still there."""
    record = read_record(stage)
    known = record is not None and record.done and record.key == stage.key
    return known and all(Path(path).exists() for path in stage.outputs)


def forget(stage: Stage) -> None:
    """Remove a stage's folder, if it is one of ours, so that the stage starts over."""
    record = read_record(stage)
    if record is not None:
        stop_orphan(record)
        shutil.rmtree(stage.work_dir)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for one process, which SIGTERM ends like an error: what it started ends too.

    Raises:
        RuntimeError: If another living process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = 'wait for it, stop it, or choose another --work-dir'
            raise RuntimeError(f'another run is using {folder}: {remedy}') from error
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class Pipeline:
    """Runs stages in order, those of one group at the same time.

    Args:
        stages: All stages of the chain.
        display: Where progress goes.
        env: Environment of the subprocesses; this process's by default.
        cwd: Folder in which they run.
        poll: Seconds between two looks at a running subprocess.
        extra: Steps that follow outside the chain, for the count that is shown.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        display: Display,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        poll: float = 0.5,
        extra: int = 0,
    ) -> None:
        self.stages = list(stages)
        self.display = display
        self.env = None if env is None else dict(env)
        self.cwd = cwd
        self.poll = poll
        self.count = len(self.stages) + extra
        self._stop = threading.Event()

    def run(self, names: Sequence[str] | None = None) -> list[str]:
        """Run the stages that are not done.

        Args:
            names: Only these; all by default.

        Returns:
            The names of the stages that were run now.

        Raises:
            ValueError: If a name is unknown.
            StageError: If a stage fails or one that it needs is not done.
        """
        known = {stage.name: stage for stage in self.stages}
        unknown = sorted(set(names or ()) - set(known))
        if unknown:
            raise ValueError(
                f'unknown stage(s) {", ".join(unknown)}; there are: {", ".join(known)}'
            )
        ran = []
        for batch in self._batches(names):
            index = self.stages.index(batch[0]) + 1
            self.display.start(index, self.count, ' | '.join(stage.title for stage in batch))
            todo = [stage for stage in batch if not is_done(stage)]
            for stage in todo:
                for need in stage.after:
                    if not is_done(known[need]):
                        raise StageError(stage, f'it needs the stage {need!r}, which is not done')
            if todo:
                minutes = max(self._run_together(todo)) / 60
                self.display.finish(f'done in {minutes:.1f} min')
            else:
                records = [read_record(stage) for stage in batch]
                minutes = max(record.seconds for record in records if record) / 60
                self.display.finish(f'done before, took {minutes:.1f} min')
            ran += [stage.name for stage in todo]
        return ran

    def stop(self) -> None:
        """End the subprocesses that run now; may be called from another thread."""
        self._stop.set()

    def _batches(self, names: Sequence[str] | None) -> list[list[Stage]]:
        """Return the chosen stages in order, neighbours of one group together."""
        batches: list[list[Stage]] = []
        for stage in self.stages:
            if names is not None and stage.name not in names:
                continue
            if batches and stage.group is not None and batches[-1][0].group == stage.group:
                batches[-1].append(stage)
            else:
                batches.append([stage])
        return batches

    def _run_together(self, stages: Sequence[Stage]) -> list[float]:
        """Run stages at the same time; when one fails, the others are stopped and can go on later.

        Returns:
            Seconds of each.
        """
        env = self.env
        if len(stages) > 1:
            threads = max(1, (os.cpu_count() or 1) // len(stages))
            env = {**(os.environ if env is None else env), 'OMP_NUM_THREADS': str(threads)}
        self._stop.clear()
        with ThreadPoolExecutor(len(stages)) as pool:
            # The first one's progress is shown; the others are much the same.
            futures = [
                pool.submit(self._run_stage, stage, env, show=stage is stages[0])
                for stage in stages
            ]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() and future.exception() is None for future in futures):
                    self._stop.set()
        errors = [error for error in (future.exception() for future in futures) if error]
        if errors:
            raise next((e for e in errors if not isinstance(e, _StoppedError)), errors[0])
        return [future.result() for future in futures]

    def _run_stage(self, stage: Stage, env: Mapping[str, str] | None, show: bool) -> float:
        record = read_record(stage)
        if record is not None:
            stop_orphan(record)
        if record is None or record.key != stage.key or record.done:
            forget(stage)
            record = StageRecord(stage.key)
        extra = stage.resume if record.attempts else ()
        record.command = [str(word) for word in (*stage.command, *extra)]
        record.attempts += 1
        write_record(stage, record)
        with stage.log.open('ab') as log:
            process = subprocess.Popen(
                record.command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=self.cwd
            )
        try:
            returncode = self._watch(process, stage, record, show)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        record.pid = record.started = None
        record.done = returncode == 0
        write_record(stage, record)
        if returncode:
            raise StageError(stage, f'exit status {returncode}')
        missing = [str(path) for path in stage.outputs if not Path(path).exists()]
        if missing:
            raise StageError(stage, f'it ended without writing {", ".join(missing)}')
        return record.seconds

    def _watch(
        self, process: subprocess.Popen, stage: Stage, record: StageRecord, show: bool
    ) -> int:
        """Follow the subprocess to its end, keeping the marker and the display up to date."""
        record.pid, record.started = process.pid, _creation_time(process.pid)
        before, began, noted = record.seconds, time.monotonic(), 0.0
        follow = _follower(stage.log, stage.epochs)
        while True:
            returncode = process.poll()
            elapsed = time.monotonic() - began
            record.seconds = before + elapsed
            if returncode is not None:
                return returncode
            record.peak_memory_mb = max(record.peak_memory_mb, family_peak_mb(process.pid))
            if noted == 0.0 or elapsed - noted > 5:
                noted = elapsed or 1e-9
                write_record(stage, record)
            if show:
                self.display.update(follow())
            if self._stop.wait(self.poll):
                raise _StoppedError(stage.name)


def _follower(path: Path, epochs: int | None) -> Callable[[], Progress | None]:
    """Return a function that reads what a log gained and returns the last known position."""
    offset = path.stat().st_size if path.is_file() else 0
    rest = ''
    last: Progress | None = None

    def follow() -> Progress | None:
        nonlocal offset, rest, last
        with path.open('rb') as file:
            file.seek(offset)
            data = file.read()
        offset += len(data)
        lines = (rest + data.decode('utf-8', 'replace')).replace('\r', '\n').split('\n')
        rest = lines.pop()
        for line in lines:
            found = parse_line(line, epochs)
            # A bare "3/4" counts only as long as nothing better was seen.
            if found is not None and (found.phase or last is None or not last.phase):
                last = found
        return last

    return follow


def _creation_time(pid: int) -> float | None:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def stop_orphan(record: StageRecord) -> None:
    """End the subprocess of an attempt whose parent was killed: two must not share a folder."""
    import psutil

    if record.pid is None or record.started is None:
        return
    if _creation_time(record.pid) != record.started:
        return
    try:
        process = psutil.Process(record.pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return
    for member in family:
        try:
            member.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        member.kill()
