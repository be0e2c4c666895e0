"""What all benchmarks share: options, turns, statistics, memory, workers and tables."""

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
from torch import Tensor, nn

import lightvit_dense
from lightvit_dense.apis.configs import load_config
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.utils import environment
from lightvit_dense.utils.devices import check_device
from lightvit_dense.utils.io import write_json
from lightvit_dense.utils.tables import to_markdown

Name = TypeVar('Name', bound=Hashable)
Call = Callable[[], object]
Column = str | Callable[[Any], str]


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f'must be a whole number from 1 on, got {text}')
    return int(text)


SHARED: dict[str, dict[str, Any]] = {
    'device': dict(help='cpu or cuda (default: cuda where there is one)'),
    'amp': dict(choices=('none', 'bf16'), help='mixed precision'),
    'threads': dict(type=count, help='CPU threads (default: as torch chooses)'),
    'batch': dict(type=count, help='images a step (default: depends on the device)'),
    'repeats': dict(type=count, help='timed rounds'),
    'size': dict(type=count, nargs=2, metavar=('W', 'H'), help='of the JPEG files in pixels'),
}
"""Options that several cases share; a case gives the default."""
ON_DEVICE = {'device': None, 'amp': 'none', 'threads': None, 'batch': None}


def add_options(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> None:
    """Add options: each is given by ``add_argument``'s arguments, a shared one by its default."""
    for name, option in options.items():
        option = dict(option if isinstance(option, dict) else SHARED[name] | {'default': option})
        if option.get('default') and 'default:' not in option['help']:
            option['help'] += ' (default: %(default)s)'
        parser.add_argument(f'--{name}', **option)


def check_options(args: argparse.Namespace) -> None:
    """Check device and precision; choose the device, and the case's batch on it."""
    if 'device' in args:
        args.device = str(check_device(args.device))
        if 'batch' in args:
            args.batch = args.batch or args.module.BATCH[torch.device(args.device).type]
        if getattr(args, 'amp', 'none') != 'none' and args.device == 'cpu':
            raise UserError('--amp needs a GPU; add --device cuda on a machine that has one')


def build_random(config: str | Path) -> Any:
    """Build the model of a config with random weights, in training mode."""
    cfg = load_config(config, scope=True)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def autocast(args: argparse.Namespace) -> torch.autocast:
    """Return the context of the precision that was asked for."""
    enabled = args.amp != 'none'
    return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=enabled)


class Applied(nn.Module):
    """A module whose call is ``call(model, images)``."""

    def __init__(self, model: nn.Module, call: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, images: Tensor) -> Any:
        """Return what the call gives for images [B, 3, H, W]."""
        return self.call(self.model, images)


def in_turns(
    calls: Mapping[Name, Call],
    repeats: int,
    warmup: int = 1,
    *,
    device: torch.device | str = 'cpu',
    clock: Callable[[], float] = time.perf_counter,
    prepare: Callable[[int], object] = lambda number: None,
    after_round: Callable[[], object] = lambda: None,
) -> dict[Name, list[float]]:
    """Time calls that take turns, so that whatever else the machine does hits all of them.

    Every second round goes backwards, so that slow drift hits all alike. Returned are the seconds
    of each round but for the warm-up's. ``prepare`` is called before each call, untimed, with the
    number of the round, the first timed being 1; ``after_round`` after timed ones.
    """
    device = torch.device(device)
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for number in range(1 - warmup, repeats + 1):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            prepare(number)
            environment.synchronize(device)
            start = clock()
            calls[name]()
            environment.synchronize(device)
            if number > 0:
                seconds[name].append(clock() - start)
        if number > 0:
            after_round()
    return seconds


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the interquartile range (0 for one value) of values."""
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    return {'median': median, 'iqr': high - low, 'samples': len(values)}


def ratio(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the median over rounds of left / right."""
    return statistics.median(a / b for a, b in zip(left, right, strict=True))


def matmul_rate(device: torch.device | str = 'cpu', amp: str = 'none') -> float:
    """Measure the best rate of a large matrix product in GFLOP/s."""
    size = 1024 if torch.device(device).type == 'cpu' else 8192
    dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(amp, torch.float32)
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    fastest = min(environment.time_calls(lambda: left @ right, 7, 2, device))
    return 2 * size**3 / fastest / 1e9


def compare(
    calls: Mapping[str, Call],
    repeats: int,
    warmup: int = 1,
    *,
    device: torch.device | str = 'cpu',
    items: int = 1,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Time calls in turns (see :func:`in_turns`) and set each beside the first.

    ``items`` are what a call handles: seconds are of one.

    Returns:
        By name: the :func:`summary` in seconds, and ``ratio``, the median over rounds of its
        seconds by the first one's (above 1 the first is faster).
    """
    taken = in_turns(calls, repeats, warmup, device=device, **options)
    first = next(iter(taken.values()))
    return {
        name: summary([value / items for value in seconds]) | {'ratio': ratio(seconds, first)}
        for name, seconds in taken.items()
    }


def held_memory_mb(device: torch.device) -> float:
    """Return what a GPU has allocated, or what the process takes, in MiB."""
    import psutil

    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device) / 2**20
    return psutil.Process().memory_info().rss / 2**20


def measure_memory(
    passes: Mapping[str, Call], device: torch.device | str
) -> dict[str, dict[str, float]]:
    """Measure passes, the smaller first: ``peak_mb``, and ``grown_mb`` above the start, in MiB."""
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


def run_worker(args: argparse.Namespace, limit: float | None = None, **task: Any) -> Any:
    """Let the case's ``work`` do a task in a fresh process; returns its plain values."""
    print(*task.items(), file=sys.stderr, flush=True)
    threads = task.get('threads') or getattr(args, 'threads', None)
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS') if isinstance(threads, int) else ()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        run = str(Path(__file__).with_name('run.py'))
        command = [sys.executable, run, *args.words, '--worker', json.dumps(task), str(out)]
        env = os.environ | dict.fromkeys(names, str(threads))
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, timeout=limit)
        status = done.returncode
        if status == UserError.exit_status:  # the worker has said what the user can put right
            raise UserError(f'{args.case}, {task}: see the message above')
        if status:
            raise RuntimeError(f'{args.case}, {task}: the worker ended with status {status}')
        return json.loads(out.read_text(encoding='utf-8'))


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
        try:
            there = {key: value for key, value in row.items() if value is not None}
            return column.format(**there) if isinstance(column, str) else column(row)
        except KeyError:
            return ''

    cells = [[write(column, row) for column in columns.values()] for row in rows]
    return f'**{title}**\n\n{to_markdown(list(columns), cells)}'


def spread(factor: float = 1, digits: int = 3) -> Column:
    """Return a column that writes median (IQR) of a row's :func:`summary` times a factor."""
    return lambda row: f'{factor * row["median"]:.{digits}f} ({factor * row["iqr"]:.{digits}f})'


def compare_pipelines(
    title: str,
    pipelines: Mapping[str, Callable[[Any], object]],
    items: Callable[[int], Sequence[Any]],
    repeats: int,
    images: int = 1,
) -> tuple[list[dict[str, Any]], str]:
    """Compare pipelines, the reference first, on one core, with the same randomness in a round.

    Each is called with each item of a round, which is so many images; a bare decode, or copy, of
    each is among them.

    Returns:
        Rows as :func:`compare` gives them, in CPU seconds an image, with ``per_s`` and ``floor``,
        the part of the fastest bare decode's speed; and their table.
    """
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    now: list[Any] = []

    def prepare(number: int) -> None:
        now[:] = items(number)
        np.random.seed(abs(number))
        torch.manual_seed(number)

    calls = {name: lambda run=run: [run(item) for item in now] for name, run in pipelines.items()}
    count = len(items(1)) * images
    options: dict[str, Any] = dict(clock=time.process_time, prepare=prepare, items=count)
    found = compare(calls, repeats, **options)
    floor = min(row['median'] for name, row in found.items() if name.startswith('bare'))
    rows = [
        {'name': name, **row, 'per_s': 1 / row['median'], 'floor': floor / row['median']}
        for name, row in found.items()
    ]
    columns: dict[str, Column] = {
        'pipeline': '{name}',
        'a second and core': '{per_s:.4g}',
        'us (IQR)': spread(1e6, 0),
        'x the first': lambda row: f'{1 / row["ratio"]:.2f}',
        'of the floor': '{floor:.0%}',
    }
    return rows, table(title, columns, rows)


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured on; ``words`` is the sentence that goes above tables."""
    machine = environment.hardware()
    machine |= {'device': getattr(args, 'device', 'cpu'), 'amp': getattr(args, 'amp', 'none')}
    machine |= {'load_at_start': round(os.getloadavg()[0], 2), 'torch': str(torch.__version__)}
    words = '*measured* on {cpu} ({simd}), {cores} cores, {torch_threads} torch threads, '
    words += 'torch {torch}'
    if machine['device'] != 'cpu':
        amp = ', mixed precision: {amp}' if 'amp' in args else ''
        words = f'*measured* on {{gpu}}{amp}, torch {{torch}}'
    words = f'{words}; load of the machine before: {{load_at_start}}.'.format(**machine)
    return machine | {'lightvit_dense': lightvit_dense.__version__, 'words': words}


def publish(report: Report, machine: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Print a report, and write the file that was asked for."""
    print(f'{machine["words"]}\n\n{report.text.strip()}\n')
    if args.json:
        others = ('case', 'module', 'words', 'worker', 'json')
        settings = {name: value for name, value in vars(args).items() if name not in others}
        content = {'machine': machine, 'settings': settings, 'results': report.results}
        write_json(args.json, content)
