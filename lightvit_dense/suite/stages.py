"""One command of a suite: what it depends on, what is known of it, and how it is run.

Each stage leaves ``stage.json`` in its folder with the key of everything its result depends on. A
stage whose key is unchanged is not run again; one whose key changed starts from an empty folder;
one that was cut short is started again with its ``resume`` arguments.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.memory import family_peak_mb

MARKER = 'stage.json'
LOG = 'stage.log'


@dataclass(frozen=True)
class Stage:
    """One command of a suite."""

    name: str  # unique in the suite
    title: str  # what it does, for the display
    work_dir: Path  # takes log and marker; emptied when the key changed
    key: str  # hash of everything the result depends on, see content_key
    command: Sequence[str]
    resume: Sequence[str] = ()  # arguments added to continue a run that was cut short
    outputs: Sequence[Path] = ()  # files without which a finished stage counts as not done
    after: Sequence[str] = ()  # names of the stages that must be done before
    epochs: int | None = None  # for the progress of epoch-based runs
    group: str | None = None  # those of one group take about as long as each other
    parallel: bool = False  # whether every task of a Slurm job runs the command

    @property
    def log(self) -> Path:
        """File that takes the output of the command."""
        return self.work_dir / LOG


@dataclass
class StageRecord:
    """What ``stage.json`` holds."""

    key: str
    done: bool = False
    seconds: float = 0.0  # all attempts together
    peak_memory_mb: float = 0.0  # of the largest process
    command: list[str] = field(default_factory=list)
    attempts: int = 0
    pid: int | None = None  # process of the running attempt, and leader of its session
    started: float | None = None  # when it was created, to tell it from a later one of the same id
    host: str = ''  # where it runs
    error: str = ''  # how the last attempt ended


class StageError(RuntimeError):
    """A stage failed; the message has the last lines of its log."""

    def __init__(self, stage: Stage, reason: str, lines: int = 25) -> None:
        tail = tail_lines(stage.log, lines)
        super().__init__(f'Stage {stage.name!r} failed: {reason}\n{tail}\nFull log: {stage.log}')


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
    atomic_write(stage.work_dir / MARKER, json.dumps(vars(record), indent=2).encode())


def is_done(stage: Stage) -> bool:
    """Return whether the stage ended well with its present key and its outputs are still there."""
    record = read_record(stage)
    known = record is not None and record.done and record.key == stage.key
    return known and all(Path(path).exists() for path in stage.outputs)


def is_running(record: StageRecord) -> bool:
    """Return whether the attempt goes on; one on another machine is taken at its word."""
    here = record.host in ('', socket.gethostname())
    return record.pid is not None and (not here or _creation_time(record.pid) == record.started)


def forget(stage: Stage) -> None:
    """Remove a stage's folder, if it is one of ours, so that the stage starts over."""
    record = read_record(stage)
    if record is not None:
        stop_orphan(record)
        shutil.rmtree(stage.work_dir)


def begin(stage: Stage) -> StageRecord:
    """Note a new attempt; a folder of another key, or of a result that is not whole, is emptied."""
    record = read_record(stage)
    if record is not None:
        stop_orphan(record)
    if record is None or record.key != stage.key or record.done:
        forget(stage)
        record = StageRecord(stage.key)
    extra = stage.resume if record.attempts else ()
    record.command = [str(word) for word in (*stage.command, *extra)]
    record.attempts += 1
    record.pid, record.started, record.host, record.error = None, None, '', ''
    write_record(stage, record)
    return record


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for one process, which SIGTERM ends like an error: what it started ends too."""
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


@dataclass
class StageJob:
    """An attempt, as submitit calls it in a process of its own, here or on a node."""

    stage: Stage
    command: list[str]
    attempt: int
    env: Mapping[str, str | None]  # over the process's own; None takes a variable away
    cwd: Path
    owner: tuple[int, float] | None  # process that it must not outlive, and its creation
    poll: float

    def __call__(self) -> None:
        """Run the command to its end, keep the record up to date; raise StageError if it fails."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        rank = 0 if self.owner else int(os.environ.get('SLURM_PROCID', 0))
        if rank and not self.stage.parallel:
            return
        env: dict[str, Any] = {**os.environ, **self.env}
        if self.owner is None and 'SLURM_JOB_ID' in env:
            env.setdefault('OMP_NUM_THREADS', env.get('SLURM_CPUS_PER_TASK', '1'))
        env = {key: value for key, value in env.items() if value is not None}
        with self.stage.log.open('ab') as log:
            process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=self.cwd,
                start_new_session=True,
            )
        try:
            error = self._watch(process, rank)
        finally:
            stop_session(process.pid)
            process.wait()
        if error:
            raise StageError(self.stage, error)

    def checkpoint(self) -> Any:
        """Return what Slurm queues again when the time is up or the node is wanted: go on there."""
        from submitit.helpers import DelayedSubmission

        fresh = [word for word in self.stage.resume if word not in self.command]
        self.command = [*self.command, *fresh]
        return DelayedSubmission(self)

    def _watch(self, process: subprocess.Popen, rank: int) -> str:
        """Follow the process to its end; return what went wrong, '' if nothing did."""
        record = read_record(self.stage) or StageRecord(self.stage.key, attempts=self.attempt)
        record.pid, record.started = process.pid, _creation_time(process.pid)
        record.host, record.command = socket.gethostname(), self.command
        before, began, noted = record.seconds, time.monotonic(), -math.inf
        while (returncode := process.poll()) is None:
            record.peak_memory_mb = max(record.peak_memory_mb, family_peak_mb(process.pid))
            elapsed = time.monotonic() - began
            record.seconds = before + elapsed
            if elapsed - noted > 5:
                noted = elapsed
                self._write(record, rank)
            if self.owner is not None and _creation_time(self.owner[0]) != self.owner[1]:
                sys.exit('the process that started this one is gone')
            time.sleep(self.poll)
        missing = [str(path) for path in self.stage.outputs if not Path(path).exists()]
        if returncode:
            record.error = f'exit status {returncode}'
        elif missing and rank == 0:
            record.error = f'it ended without writing {", ".join(missing)}'
        record.seconds = before + time.monotonic() - began
        record.pid, record.started, record.done = None, None, not record.error
        self._write(record, rank)
        return record.error

    def _write(self, record: StageRecord, rank: int) -> None:
        """Write the record of the first rank, unless a later attempt has begun."""
        known = read_record(self.stage)
        if rank == 0 and known and (known.key, known.attempts) == (self.stage.key, self.attempt):
            write_record(self.stage, record)


def start_job(
    stage: Stage,
    env: Mapping[str, str | None],
    cwd: Path,
    poll: float,
    owner: tuple[int, float] | None = None,
) -> StageJob:
    """Note a new attempt and return what runs it."""
    record = begin(stage)
    return StageJob(stage, record.command, record.attempts, env, cwd, owner, poll)


def _creation_time(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def this_process() -> tuple[int, float]:
    """Return id and creation time of this process, see :class:`StageJob`."""
    return os.getpid(), psutil.Process().create_time()


def stop_orphan(record: StageRecord) -> None:
    """End what is left here of an attempt whose parent was killed: two must not share a folder."""
    if record.pid is None or record.host not in ('', socket.gethostname()):
        return
    if _creation_time(record.pid) in (None, record.started):
        stop_session(record.pid)


def stop_session(leader: int) -> None:
    """End all processes of a session, also those whose parents are gone."""
    members = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == leader and process.pid != os.getpid():
                members.append(process)
    stop_processes(members)


def stop_processes(members: Sequence[psutil.Process], patience: float = 10.0) -> None:
    """Ask processes to end, and kill those that have not after some seconds."""
    for member in members:
        with suppress(psutil.Error):
            member.terminate()
    _, alive = psutil.wait_procs(members, timeout=patience)
    for member in alive:
        with suppress(psutil.Error):
            member.kill()
