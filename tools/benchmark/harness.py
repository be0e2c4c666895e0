"""What all benchmarks share: turns, statistics, memory, the matmul peak, workers and reports."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import lightvit_dense
from lightvit_dense.errors import UserError
from lightvit_dense.utils.devices import check_device
from lightvit_dense.utils.environment import (
    Timing,
    cpp_compiler,
    hardware,
    peak_memory_mb,
    reset_peak_memory,
    synchronize,
    time_calls,
)
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.tables import to_markdown

ROOT = Path(__file__).resolve().parents[2]
RUN = Path(__file__).with_name('run.py')
DTYPES = {'none': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Precisions by the names of the command line."""
Name = TypeVar('Name', bound=Hashable)
Call = Callable[[], object]

_OPTIONS: dict[str, dict[str, Any]] = {
    'device': dict(help='cpu or cuda (default: cuda where there is one)'),
    'amp': dict(choices=list(DTYPES), help='mixed precision'),
    'compile': dict(action='store_true', help='also time ours compiled'),
    'threads': dict(type=int, help='CPU threads (default: as torch chooses)'),
    'batch': dict(type=int, help='images a step'),
    'repeats': dict(type=int, help='timed rounds'),
    'rounds': dict(type=int, help='timed rounds'),
    'warmup': dict(type=int, help='rounds before, not timed'),
    'no-memory': dict(action='store_true', help='leave out the peak memory'),
    'quality': dict(type=int, help='of the JPEG files'),
    'tiny': dict(action='store_true', help='narrow networks, to try the tool'),
}


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add options that several cases share, each with the case's default."""
    for name, default in defaults.items():
        option = dict(_OPTIONS[name.replace('_', '-')], default=default)
        if default not in (None, False):
            option['help'] += f' (default: {default})'
        parser.add_argument(f'--{name.replace("_", "-")}', **option)


def check_options(args: argparse.Namespace) -> None:
    """Check whole numbers and shared options, and put the device in the place of None."""
    for name, value in vars(args).items():
        least = 0 if name in ('warmup', 'workers', 'cores') else 1
        for number in value if isinstance(value, list) else [value]:
            if type(number) is int and number < least:
                raise UserError(f'--{name} must be at least {least}, got {number}')
    if 'device' not in args:
        return
    if args.device and args.device.startswith('cuda') and not torch.cuda.is_available():
        raise UserError(f'--device {args.device}: this machine has no GPU that torch can use')
    args.device = str(check_device(args.device))
    on_cpu = args.device == 'cpu'
    if args.amp != 'none' and on_cpu:
        raise UserError('--amp needs a GPU; add --device cuda on a machine that has one')
    if getattr(args, 'compile', False) and on_cpu and cpp_compiler() is None:
        raise UserError('--compile needs a C++ compiler (g++ or clang++) on a CPU: install one')


def parse_size(text: str) -> tuple[int, int]:
    """Return the (width, height) that WIDTHxHEIGHT names; for ``type=`` of an option."""
    width, _, height = text.partition('x')
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'{text}: expected WIDTHxHEIGHT, such as 500x375')
    return int(width), int(height)


def autocast(device: torch.device | str, amp: str) -> torch.autocast:
    """Return the context of a precision, a key of ``DTYPES``."""
    return torch.autocast(torch.device(device).type, DTYPES[amp], enabled=amp != 'none')


def progress(text: str) -> None:
    """Tell the user how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def in_turns(
    calls: Mapping[Name, Call],
    rounds: int,
    warmup: int = 1,
    *,
    device: torch.device | str = 'cpu',
    clock: Callable[[], float] = time.perf_counter,
    prepare: Callable[[int], object] = lambda number: None,
    after_round: Callable[[int], object] = lambda number: None,
) -> dict[Name, list[float]]:
    """Time calls that take turns, so that whatever else the machine does hits all of them.

    Every second round goes backwards, so that slow drift hits all alike.

    Args:
        calls: What to time, by name.
        rounds: In each, every call is made once; returned is one time each, in seconds.
        warmup: Rounds before, not timed.
        device: What is waited for before and after each call.
        clock: Tells seconds.
        prepare: Called with the number of the round before each call, untimed.
        after_round: Called with the number of each timed round, from 1.
    """
    device = torch.device(device)
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for number in range(1 - warmup, rounds + 1):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            prepare(number)
            synchronize(device)
            start = clock()
            calls[name]()
            synchronize(device)
            if number > 0:
                seconds[name].append(clock() - start)
        if number > 0:
            after_round(number)
    return seconds


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the interquartile range (0 for one value) and the least of values."""
    timing = Timing(tuple(values))
    found = {'median': timing.median, 'iqr': timing.spread, 'fastest': min(values)}
    return {**found, 'samples': len(values)}


def ratio(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the median over rounds of left / right."""
    return statistics.median(a / b for a, b in zip(left, right, strict=True))


class MatmulPeak:
    """The best rate of a large matrix product in GFLOP/s, measured again after each round."""

    def __init__(self, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32):
        self.device, self.gflop_per_s = torch.device(device), 0.0
        self.size = 1024 if self.device.type == 'cpu' else 8192
        left, right = torch.randn(2, self.size, self.size, device=self.device).to(dtype)
        self._multiply = lambda: left @ right

    def __call__(self, number: int = 0) -> None:
        """Measure once more."""
        timing = time_calls(self._multiply, 7, 2, self.device)
        self.gflop_per_s = max(self.gflop_per_s, 2 * self.size**3 / min(timing.seconds) / 1e9)


@dataclass(frozen=True)
class Variant:
    """One of the things that are compared: calls that each run one step, by the pass's name."""

    passes: Mapping[str, Call]
    flops: Mapping[str, float] = field(default_factory=dict)  # of a step, by pass


def compare(
    variants: Mapping[str, Variant],
    rounds: int,
    warmup: int,
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
    units: int = 1,
    **options: Any,
) -> dict[str, dict[str, dict[str, float]]]:
    """Time variants in turns and set each beside the first.

    Args:
        variants: By name; all have the same passes, and take turns in each of them.
        rounds: See :func:`in_turns`.
        warmup: Likewise.
        device: Likewise.
        dtype: Precision of the matrix product whose rate is the peak.
        units: Images, batches or whatever of a call; seconds are of one.
        **options: See :func:`in_turns`.

    Returns:
        By pass and variant: the :func:`summary` in seconds; ``ratio``, the median over rounds of
        its seconds by the first one's (above 1 the first is faster); and, where arithmetic is
        known, ``gflop`` and ``share``, the part of the peak of this run that it reaches.
    """
    passes = list(next(iter(variants.values())).passes)
    calls = {(p, name): one.passes[p] for p in passes for name, one in variants.items()}
    peak = MatmulPeak(device, dtype)

    counted = any(one.flops for one in variants.values())

    def after_round(number: int) -> None:
        if counted:
            peak()
        progress(f'  round {number} of {rounds}')

    taken = in_turns(calls, rounds, warmup, device=device, after_round=after_round, **options)
    seconds = {key: [value / units for value in values] for key, values in taken.items()}
    found: dict[str, dict[str, dict[str, float]]] = {p: {} for p in passes}
    first = next(iter(variants))
    for (p, name), values in seconds.items():
        row = {**summary(values), 'ratio': ratio(values, seconds[p, first])}
        if p in variants[name].flops:
            gflop = variants[name].flops[p] / 1e9
            row |= {'gflop': gflop, 'share': gflop / row['median'] / peak.gflop_per_s}
        found[p][name] = row
    return found


def compare_pipelines(
    pipelines: Mapping[str, Callable[[Any], object]],
    items: Callable[[int], Sequence[Any]],
    rounds: int,
) -> list[dict[str, Any]]:
    """Compare pipelines from an item to an input on one core, with the same randomness in a round.

    Args:
        pipelines: By name, the reference first; those of a bare decode are the floor.
        items: Takes the number of a round; each pipeline is called with each item of it.
        rounds: Timed rounds.

    Returns:
        Rows of the :func:`summary` of CPU seconds an item, with ``per_s``, ``speedup`` over the
        reference, and ``floor``, the part of the fastest bare decode's speed.
    """
    now: list[Any] = []

    def prepare(number: int) -> None:
        now[:] = items(number)
        np.random.seed(abs(number))
        torch.manual_seed(number)

    def repeat(run: Callable[[Any], object]) -> Call:
        return lambda: [run(item) for item in now]

    variants = {name: Variant({'item': repeat(run)}) for name, run in pipelines.items()}
    options: dict[str, Any] = dict(clock=time.process_time, prepare=prepare, units=len(items(1)))
    found = compare(variants, rounds, 1, **options)['item']
    floor = min((r['median'] for n, r in found.items() if n.startswith('bare decode')), default=0)
    for row in found.values():
        row |= {'per_s': 1 / row['median'], 'speedup': 1 / row['ratio']}
        row |= {'floor': floor / row['median']} if floor else {}
    return [{'name': name, **row} for name, row in found.items()]


def pipelines_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of what :func:`compare_pipelines` found."""
    columns = {
        'pipeline': column('name'),
        'a second and core': column('per_s', '{:.4g}'),
        'us (IQR)': spread(1e6, 0),
        'x the first': column('speedup', '{:.2f}'),
        'of the floor': column('floor', '{:.0%}'),
    }
    return table(title, columns, rows)


def held_memory_mb(device: torch.device) -> float:
    """Return what a GPU has allocated, or what the process takes, in MiB."""
    import psutil

    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device) / 2**20
    return psutil.Process().memory_info().rss / 2**20


def measure_memory(
    passes: Mapping[str, Call], device: torch.device | str
) -> dict[str, dict[str, float]]:
    """Return the memory of passes, the smaller first, in a process that does nothing else.

    In MiB: ``peak_mb`` of the process, or allocated on a GPU, and ``grown_mb``, that minus what
    weights, inputs and libraries had taken before.
    """
    device = torch.device(device)
    before = held_memory_mb(device)
    reset_peak_memory(device)
    found = {}
    for name, call in passes.items():
        for _ in range(2):
            call()
        peak = peak_memory_mb(device)
        found[name] = {'peak_mb': peak, 'grown_mb': peak - before}
    return found


def start_worker(
    args: argparse.Namespace,
    task: Mapping[str, Any],
    out: Path,
    log: Path | None = None,
    timeout: float | None = None,
) -> int | None:
    """Let the case do a task in a fresh process with its own threads.

    Args:
        args: The command line; the process is given the same one.
        task: What the case's ``work`` gets; ``threads`` in it is for the process.
        out: Gets what ``work`` returns, as JSON.
        log: Takes what the process prints; standard error by default.
        timeout: Seconds after which the process is ended.

    Returns:
        The exit status, None after the timeout.
    """
    environment = dict(os.environ)
    threads = task.get('threads') or getattr(args, 'threads', None)
    if threads:
        environment['OMP_NUM_THREADS'] = environment['MKL_NUM_THREADS'] = str(threads)
    command = [sys.executable, str(RUN), *args.words, '--worker', json.dumps(task), str(out)]
    with open(log or os.devnull, 'a', encoding='utf-8') as stream:
        errors = stream if log else None
        try:
            return subprocess.run(
                command, stdout=stream, stderr=errors, env=environment, timeout=timeout, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def run_worker(args: argparse.Namespace, **task: Any) -> Any:
    """Do a task in a fresh process; returns what the case's ``work`` returned."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        status = start_worker(args, task, out)
        if status == UserError.exit_status:  # the worker has said what the user can put right
            raise UserError(f'{args.case}, {task}: see the message above')
        if status:
            raise RuntimeError(f'{args.case}, {task}: the worker failed with exit status {status}')
        return json.loads(out.read_text(encoding='utf-8'))


@dataclass(frozen=True)
class Report:
    """What a case has found: numbers for JSON, tables for people."""

    results: Any
    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    status: int = 0


def table(title: str, columns: Mapping[str, Callable[[Any], str]], rows: Iterable[Any]) -> str:
    """Return a titled table in Markdown, its columns given by what they say of a row."""
    cells = [[write(row) for write in columns.values()] for row in rows]
    return f'**{title}**\n\n{to_markdown(list(columns), cells)}'


def column(name: str, text: str = '{}') -> Callable[[Any], str]:
    """Return a column that writes a value of a row; blank where there is none."""
    return lambda row: '' if row.get(name) is None else text.format(row[name])


def spread(factor: float = 1, digits: int = 3) -> Callable[[Any], str]:
    """Return a column that writes median (IQR) of a row's :func:`summary` times a factor."""
    return lambda row: f'{factor * row["median"]:.{digits}f} ({factor * row["iqr"]:.{digits}f})'


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured on."""
    amp = getattr(args, 'amp', 'none')
    return {
        **hardware(),
        'device': getattr(args, 'device', 'cpu'),
        'precision': {'none': 'fp32'}.get(amp, amp),
        'load_at_start': round(os.getloadavg()[0], 2),
        'torch': str(torch.__version__),
        'lightvit_dense': lightvit_dense.__version__,
    }


def pin(cores: Sequence[int]) -> None:
    """Let this process and the workers it starts run on some cores only."""
    if not hasattr(os, 'sched_setaffinity'):
        raise UserError('--cores works on Linux only: leave it out')
    there = os.sched_getaffinity(0)
    if not set(cores) <= there:
        raise UserError(f'--cores: there are {sorted(there)}, got {sorted(cores)}')
    os.sched_setaffinity(0, cores)


def in_words(machine: Mapping[str, Any]) -> str:
    """Return what is measured on, in words."""
    place = f'{machine["cpu"]}, {machine["cores"]} cores, {machine["torch_threads"]} torch threads'
    if machine['device'] != 'cpu':
        place = machine['gpu']
    words = f'{place}, {machine["precision"]}, torch {machine["torch"]}'
    return f'{words}; load of the machine before: {machine["load_at_start"]}'


def publish(report: Report, machine: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Print a report, and write the files that were asked for."""
    text = f'*measured* on {in_words(machine)}.\n\n{report.text.strip()}\n'
    print(text)
    if args.markdown:
        atomic_write(args.markdown, text.encode())
    if args.json:
        found = {'machine': machine, 'settings': report.settings, 'results': report.results}
        atomic_write(args.json, (json.dumps(found, indent=2) + '\n').encode())
