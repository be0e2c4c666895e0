r"""Time our classifiers and their rivals: throughput, latency, memory, arithmetic.

Every model is measured in a process of its own, in several passes over all models, every other one
backwards, so that what the machine does meanwhile hits all alike. Weights are random. The folder of
results gets table2.md (every row of table 2 of "A Closer Look at Self-Supervised Lightweight Vision
Transformers" beside what was measured), brought up to date after each pass.

Example:
    python tools/benchmark/run.py classification_speed --modes throughput --out table2
    python tools/benchmark/run.py classification_speed --modes latency compiled --threads 1 \
        --models vit_tiny timm:vit_tiny_patch16_224 configs/imagenet/deit_vit-tiny_300e.py
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.suite.papers import PUBLISHED
from lightvit_dense.utils.io import atomic_write

from .. import harness
from ..classifier_modes import MODES, Cell, measure_model
from ..references.classifiers import CLASSIFIERS, find_classifier

Row = Mapping[str, Any]
BATCH = {'cpu': 16, 'cuda': 1024}
OPTIONS = {
    'models': dict(
        nargs='+',
        metavar='MODEL',
        default=list(CLASSIFIERS),
        help=f'{", ".join(CLASSIFIERS)}, timm:NAME, the path of a config (default: all named)',
    ),
    'modes': dict(nargs='+', choices=list(MODES), default=list(MODES), help='default: all'),
    'out': dict(default='work_dirs/classification_speed', help='folder of results'),
    'passes': dict(type=harness.count, default=3, help='passes over all models'),
    'budget': dict(type=float, default=6.0, help='seconds of timed calls a mode'),
    **harness.ON_DEVICE,
    'repeats': 30,
}


def _digits(value: float, digits: int = 3) -> str:
    return f'{value:.0f}' if value >= 10**digits else f'{value:.{digits}g}'


def make_row(model: str, size: int, passes: Sequence[Mapping[str, Cell]]) -> Row:
    """Pool a model's passes: a mode becomes a summary of images/s or ms, or what prevents one.

    ``MODE_text`` is what tables say: median (IQR), or why there is none.
    """
    row: dict[str, Any] = {'model': model, 'image_size': size}
    for mode in passes[0]:
        cells = [cells[mode] for cells in passes]
        why = [f'{k}: {c[k]}' for c in cells for k in ('error', 'unavailable') if k in c]
        row[mode], row[f'{mode}_text'] = cells[0], ''.join(why[:1])
        if why or mode == 'size':
            continue
        if mode == 'throughput':
            row[mode] = harness.summary([c['batch'] / s for c in cells for s in c['seconds']])
            row[mode]['peak_memory_mb'] = statistics.median(c['peak_memory_mb'] for c in cells)
        else:
            row[mode] = harness.summary([1e3 * s for c in cells for s in c['seconds']])
            row[mode]['relative_error'] = max(c['relative_error'] for c in cells)
        row[f'{mode}_text'] = f'{_digits(row[mode]["median"])} ({_digits(row[mode]["iqr"], 2)})'
    for key, scale in (('parameters', 1e6), ('macs', 1e9)):
        known = row['size'].get(key)
        row[key] = row['size_text'] if known is None else f'{known / scale:.2f}'
    return row


SPEED_COLUMNS: dict[str, harness.Column] = {
    'model': '{model}',
    'px': '{image_size}',
    'params M': '{parameters}',
    'GMACs': '{macs}',
    'images/s (IQR)': '{throughput_text}',
    'peak MiB': '{throughput[peak_memory_mb]:.0f}',
    'ms eager (IQR)': '{latency_text}',
    'ms compiled (IQR)': '{compiled_text}',
}
NOTE = (
    'Speeds are *measured*: the median over all calls of all passes, with the interquartile '
    'range. GMACs count a multiply-add once; activations, norms and pooling are not counted. Peak '
    'MiB is of weights and eager batches, in a process of its own: on a CPU what the process grew '
    'by.'
)
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
    measured, cells = {row['model']: row for row in rows}, []
    for one in PUBLISHED:
        lacking = '*not run*' if one.model else 'not in timm'
        found = measured.get(one.model, {'parameters': lacking, 'macs': lacking})
        printed = {key: '-' if value is None else value for key, value in vars(one).items()}
        cells.append({**found, **printed})
    sources = '; '.join(dict.fromkeys(one.source for one in PUBLISHED))
    note = f'*paper*: {sources}; images/s on one RTX 3090, batch 1024, mixed precision.'
    return f'{harness.table("Table 2", PAPER_COLUMNS, cells)}\n{note}\n'


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> dict[str, Cell]:
    """Measure the modes of one model."""
    return measure_model(find_classifier(task['model']), args)


def measure(args: argparse.Namespace) -> harness.Report:
    """Run the passes; the folder of results is brought up to date after each."""
    machine, rows = harness.describe(args), []
    entries = {name: find_classifier(name) for name in args.models}
    passes: dict[str, list[dict[str, Cell]]] = {name: [] for name in entries}
    for number in range(1, args.passes + 1):
        for name in list(entries)[:: 1 if number % 2 else -1]:
            try:
                cells = harness.run_worker(args, model=name)
            except RuntimeError as error:  # most likely there was too little memory
                cells = {key: {'error': str(error)} for key in ('size', *args.modes)}
            passes[name].append(cells)
        rows = [make_row(name, one.size, passes[name]) for name, one in entries.items()]
        text = f'{machine["words"]}\n\n{paper_table(rows)}'
        atomic_write(Path(args.out, 'table2.md'), text.encode())
    wrong = any('error' in cell for row in rows for cell in row.values() if isinstance(cell, dict))
    speeds = harness.table(f'Speed, batches of {args.batch}', SPEED_COLUMNS, rows)
    return harness.Report(rows, f'{speeds}\n{NOTE}\n\n{paper_table(rows)}', int(wrong))
