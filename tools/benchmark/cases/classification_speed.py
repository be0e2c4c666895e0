r"""Time our classifiers and their rivals: throughput, latency, memory, arithmetic.

Every model is measured in a process of its own, in several passes over all models, every other one
backwards, so that what the machine does meanwhile hits all alike. Weights are random. The folder of
results gets speed.md, speed.json, table2.md (every row of table 2 of "A Closer Look at
Self-Supervised Lightweight Vision Transformers" beside what was measured) and pictures of speed
against published accuracy; the tables are brought up to date after each model, and --resume goes on
with what is missing.

Example:
    python tools/benchmark/run.py classification_speed --modes throughput --out table2
    python tools/benchmark/run.py classification_speed --minutes 22
    python tools/benchmark/run.py classification_speed --modes latency onnx --threads 1 \
        --models vit_tiny timm:vit_tiny_patch16_224 configs/imagenet/deit_vit-tiny_300e.py
    python tools/benchmark/run.py classification_speed --device cuda --amp fp16 --channels-last
"""

import argparse
import json
import re
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.suite.papers import PUBLISHED, published_of
from lightvit_dense.utils.io import atomic_write, write_json
from lightvit_dense.visualization.curves import save_png
from lightvit_dense.visualization.palette import PALETTE

from .. import harness
from ..classifier_modes import MODES, Cell, measure_model
from ..references.classifiers import CLASSIFIERS, Classifier, find_classifier

Row = Mapping[str, Any]
FIXED = ('device', 'amp', 'channels_last', 'threads', 'batch', 'budget', 'repeats', 'warmup')
"""Options that must not change when --resume goes on."""
EPILOG = f"models: {', '.join(CLASSIFIERS)}, timm:NAME, the path of a classifier's config"
OPTIONS = {
    'models': dict(nargs='+', metavar='MODEL', default=list(CLASSIFIERS), help='default: all'),
    'modes': dict(
        nargs='+',
        choices=list(MODES),
        default=list(MODES),
        help='batches, or one image eager, in ONNX Runtime, compiled (default: all)',
    ),
    'out': dict(default='work_dirs/classification_speed', help='folder of results'),
    'resume': dict(action='store_true', help='measure only what --out lacks'),
    'passes': dict(type=int, default=3, help='passes over all models'),
    'minutes': dict(type=float, help='start no further pass that would end later'),
    'channels-last': dict(action='store_true', help='memory layout of images'),
    'budget': dict(type=float, default=6.0, help='seconds of timed calls a mode'),
    'timeout': dict(type=float, default=1200, help='seconds a model and pass'),
    'device': None,
    'amp': 'none',
    'threads': None,
    'batch': None,
    'repeats': 30,
    'warmup': 2,
}


def check(args: argparse.Namespace) -> None:
    """Choose the batch, 16 on a CPU and 1024 on a GPU, and sort the models."""
    if args.budget <= 0 or args.timeout <= 0:
        raise UserError('--budget and --timeout must be above 0')
    args.batch = args.batch or (16 if args.device == 'cpu' else 1024)
    order = list(CLASSIFIERS)
    names = dict.fromkeys(args.models)
    args.models = sorted(names, key=lambda n: order.index(n) if n in order else len(order))


def make_row(
    model: str, entry: Classifier, passes: Sequence[Mapping[str, Cell]], modes: Sequence[str]
) -> dict[str, Any]:
    """Pool a model's passes: a mode becomes a summary of images/s or ms, or what prevents one."""
    row: dict[str, Any] = {'model': model, 'title': entry.title, 'note': entry.note}
    row |= {'image_size': entry.size, 'passes': len(passes)}
    for mode in ('size', *modes):
        cells = [cells[mode] for cells in passes if mode in cells]
        wrong = [{k: c[k]} for k in ('error', 'unavailable') for c in cells if k in c]
        if wrong or not cells or mode == 'size':
            row[mode] = wrong[0] if wrong else (cells or [{}])[0]
        elif mode == 'throughput':
            row[mode] = harness.summary([c['batch'] / s for c in cells for s in c['seconds']])
            memory = statistics.median(c['peak_memory_mb'] for c in cells)
            row[mode] |= {'batch': cells[0]['batch'], 'peak_memory_mb': memory}
        else:
            row[mode] = harness.summary([1e3 * s for c in cells for s in c['seconds']])
            row[mode]['relative_error'] = max(c['relative_error'] for c in cells)
    return row


def errors_of(row: Row) -> list[str]:
    """Return ``mode: reason`` of each cell of a row that is an error."""
    wrong = [mode for mode in ('size', *MODES) if 'error' in row.get(mode, {})]
    return [f'{mode}: {row[mode]["error"]}' for mode in wrong]


def _number(value: float, digits: int = 3) -> str:
    """Write a number with at least ``digits`` significant digits."""
    return f'{value:.0f}' if abs(value) >= 10 ** (digits - 1) else f'{value:.{digits}g}'


def in_text(row: Row) -> dict[str, Any]:
    """Return a row with its size in M and G, and ``MODE_text``: median (IQR), or why none."""
    cells = dict(row)
    for key, scale in (('parameters', 1e6), ('macs', 1e9), ('flops', 1e9)):
        cells[key] = f'{row["size"][key] / scale:.2f}' if key in row['size'] else 'error'
    for mode in MODES:
        found = row.get(mode, {})
        text = 'error' if 'error' in found else found.get('unavailable', '')
        if 'median' in found:
            text = f'{_number(found["median"])} ({_number(found["iqr"], 2)})'
        cells |= {mode: found, f'{mode}_text': text}
    return cells


SPEED_COLUMNS: dict[str, harness.Column] = {
    'model': '{title}',
    'px': '{image_size}',
    'params M': '{parameters}',
    'GMACs': '{macs}',
    'GFLOPs': '{flops}',
    'batch': '{throughput[batch]}',
    'images/s (IQR)': '{throughput_text}',
    'peak MiB': '{throughput[peak_memory_mb]:.0f}',
    'ms eager (IQR)': '{latency_text}',
    'ms compiled (IQR)': '{compiled_text}',
    'ms ONNX (IQR)': '{onnx_text}',
    'ONNX error': '{onnx[relative_error]:.0e}',
    'notes': '{note}',
}
SPEED_NOTE = (
    'Speeds are *measured*: the median over all calls of all passes, with the interquartile '
    'range. GMACs count a multiply-add of matrix products, attention and convolutions once, '
    'GFLOPs twice; activations, norms and pooling are not counted. Weights are random. Peak '
    'MiB is of weights and eager batches, in a process of its own: on a CPU what the process '
    'grew by. ONNX error is the largest difference from torch over the largest logit.'
)


def speed_table(rows: Sequence[Row]) -> str:
    """Return the table of all models, and the errors."""
    text = harness.table('Speed of classifiers', SPEED_COLUMNS, map(in_text, rows))
    errors = [f'- error, {row["title"]}, {text}' for row in rows for text in errors_of(row)]
    return '\n'.join([text, SPEED_NOTE, *errors, ''])


PAPER_COLUMNS: dict[str, harness.Column] = {
    'network': '{label}',
    'params M *paper*': '{params_m:g}',
    'params M *measured*': '{parameters}',
    'GMACs *measured*': '{macs}',
    'images/s *paper*': '{images_per_s}',
    'images/s (IQR) *measured*': '{throughput_text}',
    'top-1 *paper*': '{top1:.1f}',
    'ReaL *paper*': '{real}',
    'V2 *paper*': '{v2}',
}


def paper_table(rows: Sequence[Row]) -> str:
    """Return table 2 of the study beside what was measured; what has no row is *not run*."""
    measured = {row['model']: in_text(row) for row in rows}
    cells = []
    for one in PUBLISHED:
        lacking = '*not run*' if one.model else 'not in timm'
        found = measured.get(one.model, {'parameters': lacking, 'macs': lacking})
        printed = {key: '-' if value is None else value for key, value in vars(one).items()}
        cells.append({'throughput_text': '', **found, **printed})
    sources = '; '.join(dict.fromkeys(one.source for one in PUBLISHED))
    note = f'*paper*: {sources}; images/s on one RTX 3090, batch 1024, mixed precision.'
    return f'{harness.table("Table 2", PAPER_COLUMNS, cells)}\n{note}\n'


def scatter(points: Sequence[tuple[Any, float]], axis: str) -> Any:
    """Draw published results and their measured speed, a bubble as large as the parameters."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(9.0, 5.0), layout='constrained', dpi=120)
    axes = figure.add_subplot(xscale='log', xlabel=f'{axis} (measured)')
    axes.set_ylabel('ImageNet top-1 in % (published)')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axes.xaxis.set_minor_formatter('{x:g}')
    axes.margins(0.1)
    ranked = sorted(points, key=lambda point: -point[0].top1)
    for rank, (one, speed) in enumerate(ranked, 1):
        # Small ones above large ones, so that they stay visible.
        style = dict(color=PALETTE[1 if one.pretrained else 5], zorder=2 + 1 / one.params_m)
        axes.scatter(speed, one.top1, 40 * one.params_m, alpha=0.5, **style)
        axes.annotate(str(rank), (speed, one.top1), ha='center', va='center', fontsize=7)
    names = [f'{rank}  {one.label}' for rank, (one, _) in enumerate(ranked, 1)]
    title = 'area: parameters; orange:\npre-trained by masked\nimage modelling'
    blank = [axes.plot([], [])[0] for _ in names]
    figure.legend(blank, names, loc='outside right', fontsize=7, handlelength=0, title=title)
    axes.grid(alpha=0.2, lw=0.6)
    return figure


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw speed against published accuracy for each mode into a folder; returns the files."""
    files = []
    for mode, axis in MODES.items():
        speeds = [(row['model'], row.get(mode, {}).get('median')) for row in rows]
        points = [(one, speed) for name, speed in speeds if speed for one in published_of(name)]
        if points:
            files.append(folder / f'{mode}.png')
            save_png(scatter(points, axis), files[-1])
    return files


class Passes:
    """Measurements of many models, kept in a folder: ``passes/NUMBER/MODEL.json``.

    The throughput batch of the first pass is that of all.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(args.out)
        self.models = {name: find_classifier(name) for name in args.models}

    def open(self) -> None:
        """Make the folder, or refuse one of other settings, or of any without --resume."""
        file = self.folder / 'settings.json'
        wanted = {name: getattr(self.args, name) for name in FIXED}
        known = json.loads(file.read_text(encoding='utf-8')) if file.is_file() else wanted
        if file.is_file() and not self.args.resume:
            raise UserError(
                f'{self.folder} holds results already: go on with them by --resume, '
                'or name another folder by --out'
            )
        other = [f'{k} was {known.get(k)}' for k, value in wanted.items() if known.get(k) != value]
        if other:
            raise UserError(
                f'{self.folder} was measured otherwise ({", ".join(other)}): '
                'give the same options, or name another folder by --out'
            )
        write_json(file, wanted)

    def file(self, number: int, model: str) -> Path:
        """Return the file of a model in a pass (from 1)."""
        return self.folder / 'passes' / str(number) / re.sub(r'[^\w.-]+', '_', f'{model}.json')

    def cells(self, number: int, model: str) -> dict[str, Cell]:
        """Return the cells of a model in a pass: its size and the modes."""
        file = self.file(number, model)
        return json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}

    def missing(self, number: int, model: str) -> list[str]:
        """Return the modes of a model in a pass that have no result yet, or an error."""
        cells = self.cells(number, model)
        if 'error' in cells.get('size', {}):
            return list(self.args.modes)
        return [m for m in self.args.modes if 'error' in cells.get(m, {'error': 'missing'})]

    def measure(self, number: int, model: str, wanted: list[str]) -> None:
        """Measure modes of a model in a process of its own; each has a cell afterwards.

        A process that the system kills, as it does when memory runs out, is started again with
        half of the throughput batch.
        """
        first = self.cells(1, model).get('throughput', {})
        task = {'model': model, 'modes': wanted, 'batch': first.get('batch', self.args.batch)}
        out, log, timeout = self.folder / 'worker.json', self.folder / 'log.txt', self.args.timeout
        status = harness.start_worker(self.args, task, out, log, timeout)
        while status == -signal.SIGKILL and 'throughput' in wanted and task['batch'] > 1:
            task['batch'] //= 2
            status = harness.start_worker(self.args, task, out, log, timeout)
        if status == 0:
            found = json.loads(out.read_text(encoding='utf-8'))
        else:
            why = f'the process ended with status {status}'
            if status is None:
                why = f'not done after {timeout:g} s, see --timeout'
            elif status == -signal.SIGKILL:
                why += ', killed: most likely for lack of memory'
            found = {mode: {'error': f'{why}; see {log}'} for mode in wanted}
        known = {'size': {}, **self.cells(number, model)}
        write_json(self.file(number, model), known | found)

    def run(self) -> list[int]:
        """Measure what is missing; returns the passes that were left out for lack of time."""
        start, last, limit = time.monotonic(), 0.0, 60 * (self.args.minutes or float('inf'))
        for number in range(1, self.args.passes + 1):
            began = time.monotonic()
            if number > 1 and began - start + last > limit:
                return list(range(number, self.args.passes + 1))
            for model in self.args.models[:: 1 if number % 2 else -1]:
                wanted = self.missing(number, model)
                if wanted:
                    self.measure(number, model, wanted)
                row = next(row for row in self.write() if row['model'] == model)
                errors = '\n    '.join(errors_of(row)) or 'no errors'
                minutes = (time.monotonic() - start) / 60
                told = f'pass {number} of {self.args.passes}, {model}, {minutes:.1f} minutes'
                harness.progress(f'{told}: {errors}')
            last = time.monotonic() - began
        return []

    def write(self) -> list[dict[str, Any]]:
        """Bring the tables in the folder up to date; returns a row for each measured model."""
        rows = []
        for name, entry in self.models.items():
            found = [self.cells(number, name) for number in range(1, self.args.passes + 1)]
            found = [cells for cells in found if cells]
            rows += [make_row(name, entry, found, self.args.modes)] if found else []
        machine = harness.describe(self.args)
        about = f'*measured* on {harness.in_words(machine)}.\n\n'
        write_json(self.folder / 'speed.json', {'machine': machine, 'results': rows})
        for name, text in (('speed.md', speed_table(rows)), ('table2.md', paper_table(rows))):
            atomic_write(self.folder / name, (about + text).encode())
        return rows


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> dict[str, Cell]:
    """Measure modes of one model."""
    args.batch = task['batch']
    return measure_model(find_classifier(task['model']), task['modes'], args)


def measure(args: argparse.Namespace) -> harness.Report:
    """Run the passes, and draw what they found."""
    passes = Passes(args)
    passes.open()
    left_out = passes.run()
    if left_out:
        harness.progress(f'left out for lack of time: passes {left_out}; --resume runs them')
    rows = passes.write()
    pictures = ', '.join(map(str, draw(rows, passes.folder)))
    pictures = pictures or 'none: no model has a published accuracy'
    text = f'{speed_table(rows)}\n{paper_table(rows)}\npictures: {pictures}'
    return harness.Report(rows, text, int(any(errors_of(row) for row in rows)))
