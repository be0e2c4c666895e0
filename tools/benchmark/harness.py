"""What all benchmarks share: options, turns, statistics, memory, workers and reports."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

import lightvit_dense
from lightvit_dense.errors import UserError
from lightvit_dense.utils import environment
from lightvit_dense.utils.devices import check_device
from lightvit_dense.utils.io import atomic_write, write_json
from lightvit_dense.utils.tables import to_markdown

ROOT = Path(__file__).resolve().parents[2]
DTYPES = {'none': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Precisions by the names of the command line."""
Name = TypeVar('Name', bound=Hashable)
Call = Callable[[], object]
Column = str | Callable[[Any], str]


def parse_size(text: str) -> tuple[int, int]:
    """Return the (width, height) that WIDTHxHEIGHT names."""
    width, _, height = text.partition('x')
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'{text}: expected WIDTHxHEIGHT, such as 500x375')
    return int(width), int(height)


SHARED: dict[str, dict[str, Any]] = {
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
    'size': dict(type=parse_size, metavar='WxH', help='size of the JPEG files'),
    'tiny': dict(action='store_true', help='narrow networks, to try the tool'),
}
"""Options that several cases share."""
STEP_OPTIONS = {'batch': None, 'device': None, 'amp': 'none', 'compile': False, 'threads': None}
"""Defaults of those that all training steps have."""


def add_options(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> None:
    """Add options: each is given by ``add_argument``'s arguments, a shared one by its default."""
    for name, option in options.items():
        option = dict(option if isinstance(option, dict) else SHARED[name] | {'default': option})
        default, text = option.get('default'), option.get('help', '')
        if default and 'default:' not in text:
            between = 'x' if isinstance(default, tuple) else ' '
            plural = isinstance(default, (list, tuple))
            words = between.join(map(str, default)) if plural else default
            option['help'] = f'{text} (default: {words})'
        parser.add_argument(f'--{name}', **option)


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
    if getattr(args, 'compile', False) and on_cpu and environment.cpp_compiler() is None:
        raise UserError('--compile needs a C++ compiler (g++ or clang++) on a CPU: install one')


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that say what is measured, as plain values."""
    others = ('case', 'module', 'words', 'worker', 'json', 'markdown')
    return {name: value for name, value in vars(args).items() if name not in others}


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

    Every second round goes backwards, so that slow drift hits all alike. Returned are the seconds
    of each round but for the warm-up's. ``prepare`` is called before each call, untimed;
    ``after_round`` after timed ones; both with the number of the round, the first timed being 1.
    """
    device = torch.device(device)
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for number in range(1 - warmup, rounds + 1):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            prepare(number)
            environment.synchronize(device)
            start = clock()
            calls[name]()
            environment.synchronize(device)
            if number > 0:
                seconds[name].append(clock() - start)
        if number > 0:
            after_round(number)
    return seconds


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the interquartile range (0 for one value) and the least of values."""
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    found = {'median': median, 'iqr': high - low, 'fastest': min(values)}
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
        fastest = min(environment.time_calls(self._multiply, 7, 2, self.device))
        self.gflop_per_s = max(self.gflop_per_s, 2 * self.size**3 / fastest / 1e9)


def compare(
    calls: Mapping[str, Call],
    rounds: int,
    warmup: int,
    device: torch.device | str = 'cpu',
    amp: str = 'none',
    flops: Mapping[str, float] | None = None,
    units: int = 1,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Time calls in turns (see :func:`in_turns`) and set each beside the first.

    ``units`` are the images or batches of a call: seconds and ``flops``, where they are known, are
    of one. ``amp`` is the precision of the matmul peak.

    Returns:
        By name: the :func:`summary` in seconds; ``ratio``, the median over rounds of its seconds
        by the first one's (above 1 the first is faster); and, where arithmetic is known,
        ``gflop`` and ``share``, the part of the peak of this run that it reaches.
    """
    flops = flops or {}
    peak = MatmulPeak(device, DTYPES[amp])

    def after_round(number: int) -> None:
        if flops:
            peak()
        progress(f'  round {number} of {rounds}')

    taken = in_turns(calls, rounds, warmup, device=device, after_round=after_round, **options)
    first = next(iter(taken.values()))
    found = {}
    for name, seconds in taken.items():
        row = summary([value / units for value in seconds]) | {'ratio': ratio(seconds, first)}
        if name in flops:
            gflop = flops[name] / 1e9
            row |= {'gflop': gflop, 'share': gflop / row['median'] / peak.gflop_per_s}
        found[name] = row
    return found


def compare_pipelines(
    title: str,
    pipelines: Mapping[str, Callable[[Any], object]],
    items: Callable[[int], Sequence[Any]],
    rounds: int,
) -> tuple[list[dict[str, Any]], str]:
    """Compare pipelines from an item to an input on one core, with the same randomness in a round.

    Each pipeline, the reference first, is called with each item of a round; those of a bare decode
    are the floor.

    Returns:
        Rows of the :func:`summary` of CPU seconds an item, with ``per_s``, ``speedup`` over the
        reference, and ``floor``, the part of the fastest bare decode's speed; and their table.
    """
    now: list[Any] = []

    def prepare(number: int) -> None:
        now[:] = items(number)
        np.random.seed(abs(number))
        torch.manual_seed(number)

    calls = {name: lambda run=run: [run(item) for item in now] for name, run in pipelines.items()}
    options: dict[str, Any] = dict(clock=time.process_time, prepare=prepare, units=len(items(1)))
    found = compare(calls, rounds, 1, **options)
    floor = min((r['median'] for n, r in found.items() if n.startswith('bare decode')), default=0)
    rows = []
    for name, row in found.items():
        row |= {'per_s': 1 / row['median'], 'speedup': 1 / row['ratio']}
        rows.append({'name': name, **row} | ({'floor': floor / row['median']} if floor else {}))
    columns = {
        'pipeline': '{name}',
        'a second and core': '{per_s:.4g}',
        'us (IQR)': spread(1e6, 0),
        'x the first': '{speedup:.2f}',
        'of the floor': '{floor:.0%}',
    }
    return rows, table(title, columns, rows)


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
    environment.reset_peak_memory(device)
    found = {}
    for name, call in passes.items():
        for _ in range(2):
            call()
        peak = environment.peak_memory_mb(device)
        found[name] = {'peak_mb': peak, 'grown_mb': peak - before}
    return found


def start_worker(
    args: argparse.Namespace,
    task: Mapping[str, Any],
    out: Path,
    log: Path | None = None,
    timeout: float | None = None,
) -> int | None:
    """Let the case's ``work`` do a task in a fresh process, with the threads that the task names.

    ``out`` gets what it returns as JSON, ``log`` what it prints (else it is seen on standard
    error). Returns the exit status, None after ``timeout`` seconds.
    """
    threads = task.get('threads') or getattr(args, 'threads', None)
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS') if threads else ()
    variables = os.environ | dict.fromkeys(names, str(threads))
    run = str(Path(__file__).with_name('run.py'))
    command = [sys.executable, run, *args.words, '--worker', json.dumps(task), str(out)]
    with open(log or os.devnull, 'a', encoding='utf-8') as stream:
        options: dict[str, Any] = dict(stdout=stream, stderr=stream if log else None)
        try:
            return subprocess.run(command, env=variables, timeout=timeout, **options).returncode
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


def run_groups(
    args: argparse.Namespace, groups: Mapping[str, str], **task: Any
) -> Iterable[tuple[str, Any]]:
    """Do the task of each group in a fresh process; gives its name and what ``work`` returned."""
    for place, (name, title) in enumerate(groups.items(), 1):
        progress(f'[{place}/{len(groups)}] {title}')
        yield name, run_worker(args, group=name, **task)


class Report(NamedTuple):
    """What a case has found: numbers for JSON, tables for people."""

    results: Any
    text: str
    status: int = 0


def table(title: str, columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a titled table in Markdown.

    A column is a format string for the values of a row, blank where one is absent or None, or a
    function of the row.
    """

    def write(column: Column, row: Mapping[str, Any]) -> str:
        if not isinstance(column, str):
            return column(row)
        try:
            return column.format(**{k: v for k, v in row.items() if v is not None})
        except KeyError:
            return ''

    cells = [[write(column, row) for column in columns.values()] for row in rows]
    return f'**{title}**\n\n{to_markdown(list(columns), cells)}'


def spread(factor: float = 1, digits: int = 3) -> Column:
    """Return a column that writes median (IQR) of a row's :func:`summary` times a factor."""
    return lambda row: f'{factor * row["median"]:.{digits}f} ({factor * row["iqr"]:.{digits}f})'


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured on."""
    amp = getattr(args, 'amp', 'none')
    return {
        **environment.hardware(),
        'device': getattr(args, 'device', 'cpu'),
        'precision': {'none': 'fp32'}.get(amp, amp),
        'load_at_start': round(os.getloadavg()[0], 2),
        'torch': str(torch.__version__),
        'lightvit_dense': lightvit_dense.__version__,
    }


def in_words(machine: Mapping[str, Any]) -> str:
    """Return what is measured on, in words."""
    place = f'{machine["cpu"]}, {machine["cores"]} cores, {machine["torch_threads"]} torch threads'
    if machine['device'] != 'cpu':
        place = machine['gpu']
    words = f'{place}, {machine["precision"]}, torch {machine["torch"]}'
    return f'{words}; load of the machine before: {machine["load_at_start"]}'


def pin(cores: Sequence[int]) -> None:
    """Let this process and the workers it starts run on some cores only."""
    if not hasattr(os, 'sched_setaffinity'):
        raise UserError('--cores works on Linux only: leave it out')
    there = os.sched_getaffinity(0)
    if not set(cores) <= there:
        raise UserError(f'--cores: there are {sorted(there)}, got {sorted(cores)}')
    os.sched_setaffinity(0, cores)


def publish(report: Report, machine: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Print a report, and write the files that were asked for."""
    text = f'*measured* on {in_words(machine)}.\n\n{report.text.strip()}\n'
    print(text)
    if args.markdown:
        atomic_write(args.markdown, text.encode())
    if args.json:
        found = {'machine': machine, 'settings': settings_of(args), 'results': report.results}
        write_json(args.json, found)
