"""Where stages run, by submitit: as processes, which end with this one, or jobs of Slurm."""

import getpass
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import submitit

from lightvit_dense.errors import UserError

from .stages import Stage, read_record, start_job, stop_orphan, stop_processes, this_process

JOB_FILE = 'slurm_job'
"""File in a stage's folder: the number of its job."""
PATIENCE = 5.0
"""Seconds after which a job that the queue does not have has ended."""


class LocalExecutor:
    """Processes of this machine.

    Args:
        folder: Takes submitit's files.
        jobs: How many run at a time; the cores are shared out among them.
        slots: Variables of each of those, such as its GPUs. Their number replaces ``jobs``.
        env: Variables of all of them.
        cwd: Folder in which they run.
        poll: Seconds between two looks at a process.
        timeout_min: Minutes after which a run is stopped and goes on; None for no limit.
    """

    def __init__(
        self,
        folder: Path,
        jobs: int = 1,
        slots: Sequence[Mapping[str, str]] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | Path = '.',
        poll: float = 0.5,
        timeout_min: int | None = None,
    ) -> None:
        # submitit gives no GPUs to who asks for none; without slots, those of this process.
        devices = {'CUDA_VISIBLE_DEVICES': os.environ.get('CUDA_VISIBLE_DEVICES')}
        self.slots: list[Mapping[str, str | None]] = [*slots] or [devices] * jobs
        self.width = len(self.slots)
        self.env, self.cwd, self.poll = dict(env or {}), Path(cwd).resolve(), poll
        self._executor = submitit.AutoExecutor(folder, cluster='local')
        self._executor.update_parameters(timeout_min=timeout_min or 60 * 24 * 365)
        self._free = list(range(self.width))
        self._running: dict[str, tuple[submitit.Job, int, Stage]] = {}

    def adopt(self, stage: Stage) -> bool:
        """End what a killed call left: two must not share the cores."""
        self.cancel(stage)
        return False

    def cancel(self, stage: Stage) -> None:
        """End what a killed call left."""
        record = read_record(stage)
        if record is not None:
            stop_orphan(record)

    def choose(self, waiting: Sequence[Stage], done: set[str]) -> list[Stage]:
        """Return as many stages as there is room for, out of those whose needs are done."""
        return [stage for stage in waiting if set(stage.after) <= done][: len(self._free)]

    def submit(self, stages: Sequence[Stage]) -> None:
        """Start stages; those that run share out the cores."""
        # Two processes of many threads on the same cores are many times slower than of one.
        threads = max(1, (os.cpu_count() or 1) // (len(stages) + len(self._running)))
        env = {'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)}
        for stage in stages:
            slot = self._free.pop(0)
            own = {**env, **self.env, **self.slots[slot]}
            run = start_job(stage, own, self.cwd, self.poll, this_process())
            self._running[stage.name] = (self._executor.submit(run), slot, stage)

    def ended(self) -> dict[str, Path]:
        """Return the stages whose processes are gone."""
        found = {n: job.paths.stderr for n, (job, *_) in self._running.items() if job.done()}
        for name in found:
            self._free.append(self._running.pop(name)[1])
        return found

    def close(self) -> None:
        """End what still runs; it can go on later."""
        members = []
        for job, *_ in self._running.values():
            with suppress(psutil.Error):
                process = psutil.Process(int(job.job_id))
                members += [process, *process.children(recursive=True)]
        stop_processes(members)
        for _, _, stage in self._running.values():
            self.cancel(stage)
        self._running.clear()


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks of Slurm."""

    partition: str | None = None
    nodes: int = 1
    gpus_per_job: int = 0  # on all nodes together; one process each
    cpus_per_task: int | None = None
    timeout_min: int = 60 * 24
    array_parallelism: int = 0  # jobs of an array at a time; 0 for no arrays
    more: Mapping[str, Any] = field(default_factory=dict)  # other options of sbatch

    def of(self, stage: Stage) -> dict[str, Any]:
        """Return submitit's parameters for a stage."""
        nodes = self.nodes if stage.parallel else 1
        gpus = self.gpus_per_job if stage.parallel else min(1, self.gpus_per_job)
        found = dict(
            nodes=nodes,
            timeout_min=self.timeout_min,
            tasks_per_node=max(1, gpus // nodes),
            gpus_per_node=gpus // nodes,
            cpus_per_task=self.cpus_per_task,
            slurm_partition=self.partition,
        )
        return {key: value for key, value in found.items() if value}


class SlurmExecutor:
    """Jobs of Slurm, each queued with those it depends on; the nodes must see ``folder``."""

    def __init__(
        self,
        folder: Path,
        options: SlurmOptions,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = '.',
        poll: float = 2.0,
    ) -> None:
        for program in ('sbatch', 'srun', 'squeue'):
            if shutil.which(program) is None:
                raise UserError(f'--executor slurm: there is no {program} on this machine')
        self.folder, self.options, self.env = folder, options, dict(env or {})
        self.cwd, self.poll, self.width = Path(cwd).resolve(), poll, 1
        self._jobs: dict[str, str] = {}  # of stages that are queued or run
        self._missed: dict[str, float] = {}  # since when the queue has not had them
        self._looked = 0.0

    def adopt(self, stage: Stage) -> bool:
        """Take over the job of an earlier call; cancel one of another key."""
        record, path = read_record(stage), stage.work_dir / JOB_FILE
        if record is None or not path.exists():
            return False
        job, queue = path.read_text(encoding='utf-8'), self._queue()
        if queue is None:
            raise UserError('Slurm does not say which jobs there are: see what squeue answers')
        if job not in queue or record.key != stage.key:
            self.cancel(stage)
            return False
        self._jobs[stage.name] = job
        return True

    def cancel(self, stage: Stage) -> None:
        """Cancel the job of an earlier call and wait until it is gone."""
        path, deadline = stage.work_dir / JOB_FILE, time.monotonic() + 60
        job = path.read_text(encoding='utf-8') if path.exists() else ''
        while job and job in (self._queue() or ()) and time.monotonic() < deadline:
            subprocess.run(['scancel', job], capture_output=True, check=False)
            time.sleep(self.poll)

    def choose(self, waiting: Sequence[Stage], done: set[str]) -> list[Stage]:
        """Return a stage whose needs are done or queued, with those it makes an array with."""
        known = done | set(self._jobs)
        first = next((stage for stage in waiting if set(stage.after) <= known), None)
        if first is None or not self.options.array_parallelism:
            return [first] if first else []
        kind = (set(first.after), first.parallel)
        return [stage for stage in waiting if (set(stage.after), stage.parallel) == kind]

    def submit(self, stages: Sequence[Stage]) -> None:
        """Queue stages that depend on the same ones, as an array if they are several."""
        more = dict(self.options.more)
        needs = [self._jobs[need] for need in stages[0].after if need in self._jobs]
        if needs:
            more |= {'dependency': 'afterok:' + ':'.join(needs), 'kill-on-invalid-dep': 'yes'}
        executor = submitit.AutoExecutor(self.folder, cluster='slurm', slurm_max_num_timeout=1000)
        executor.update_parameters(
            **self.options.of(stages[0]),
            name=stages[0].name if len(stages) == 1 else stages[0].group or 'suite',
            slurm_additional_parameters=more,
            slurm_array_parallelism=self.options.array_parallelism or 256,
        )
        runs = [start_job(stage, self.env, self.cwd, poll=1.0) for stage in stages]
        try:
            with executor.batch():
                jobs = [executor.submit(run) for run in runs]
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f'Slurm does not take {stages[0].name}: {error}') from error
        for stage, job in zip(stages, jobs, strict=True):
            (stage.work_dir / JOB_FILE).write_text(job.job_id, encoding='utf-8')
            self._jobs[stage.name] = job.job_id

    def ended(self) -> dict[str, Path]:
        """Return the stages that the queue has not had for a while; requeued ones come back."""
        now = time.monotonic()
        if now - self._looked < self.poll:
            return {}
        queue, self._looked = self._queue(), now
        if queue is None:
            return {}
        gone = [name for name, job in self._jobs.items() if job not in queue]
        self._missed = {name: self._missed.get(name, now) for name in gone}
        names = [name for name, since in self._missed.items() if now - since > PATIENCE]
        return {name: self.folder / f'{self._jobs.pop(name)}_0_log.err' for name in names}

    def close(self) -> None:
        """Leave the jobs in the queue."""
        if self._jobs:
            words = f'scancel {" ".join(self._jobs.values())} ends them; the same command watches'
            print(f'The jobs stay with Slurm: {words} over them again.', file=sys.stderr)

    def _queue(self) -> list[str] | None:
        """Return the jobs of this user that wait or run; None while Slurm does not say."""
        words = ['squeue', '--noheader', '--array', '--format=%i', '--user', getpass.getuser()]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        return None if found.returncode else found.stdout.split()


def device_slots(gpus: Sequence[str], gpus_per_job: int) -> list[dict[str, str]]:
    """Return the environment of each run that can go on at the same time; none on the CPU.

    ``gpus`` are named as ``CUDA_VISIBLE_DEVICES`` takes them; 0 ``gpus_per_job`` are all of them.
    """
    if len(set(gpus)) != len(gpus):
        raise UserError(f'--gpus {" ".join(gpus)}: a GPU is named twice')
    if not gpus:
        if gpus_per_job > 1:
            words = f'--gpus-per-job {gpus_per_job}: no GPUs are given; name them by --gpus'
            raise UserError(words)
        return []
    size = gpus_per_job or len(gpus)
    if len(gpus) % size:
        raise UserError(f'--gpus-per-job {size}: {len(gpus)} GPUs cannot be shared out evenly')
    groups = [gpus[i : i + size] for i in range(0, len(gpus), size)]
    return [{'CUDA_VISIBLE_DEVICES': ','.join(group)} for group in groups]
