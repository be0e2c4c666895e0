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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_write

from .. import harness
from ..classifier_modes import MODES, Cell, measure_model
from ..classifier_tables import draw, errors_of, make_row, paper_table, speed_table
from ..references.classifiers import CLASSIFIERS, find_classifier

FIXED = ('device', 'amp', 'channels_last', 'threads', 'batch', 'budget', 'repeats', 'warmup')
"""Options that must not change when --resume goes on."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this case."""
    named = ', '.join(CLASSIFIERS)
    parser.epilog = f"models: {named}, timm:NAME, the path of a classifier's config"
    add = parser.add_argument
    add('--models', nargs='+', metavar='MODEL', default=list(CLASSIFIERS), help='default: all')
    help = 'batches, or one image eager, in ONNX Runtime, compiled (default: all)'
    add('--modes', nargs='+', choices=list(MODES), default=list(MODES), help=help)
    add('--out', default='work_dirs/classification_speed', help='folder of results')
    add('--resume', action='store_true', help='measure only what --out lacks')
    add('--passes', type=int, default=3, help='passes over all models (default: 3)')
    add('--minutes', type=float, help='start no further pass that would end later')
    add('--channels-last', action='store_true', help='memory layout of images')
    add('--budget', type=float, default=6.0, help='seconds of timed calls a mode (default: 6)')
    add('--timeout', type=float, default=1200, help='seconds a model and pass (default: 1200)')
    harness.add_options(parser, device=None, amp='none', threads=None, batch=None)
    harness.add_options(parser, repeats=30, warmup=2)


def check(args: argparse.Namespace) -> None:
    """Choose the batch, 16 on a CPU and 1024 on a GPU, and sort the models."""
    if args.budget <= 0 or args.timeout <= 0:
        raise UserError('--budget and --timeout must be above 0')
    args.batch = args.batch or (16 if args.device == 'cpu' else 1024)
    order = list(CLASSIFIERS)
    names = dict.fromkeys(args.models)
    args.models = sorted(names, key=lambda n: order.index(n) if n in order else len(order))


class Passes:
    """Measurements of many models, kept in a folder: ``passes/NUMBER/MODEL.json``.

    Odd passes go forwards and even ones backwards through the models. The throughput batch of the
    first pass is that of all.
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
        atomic_write(file, (json.dumps(wanted, indent=2) + '\n').encode())

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
        atomic_write(self.file(number, model), json.dumps(known | found).encode())

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
        texts = {
            'speed.json': json.dumps({'machine': machine, 'results': rows}, indent=2) + '\n',
            'speed.md': about + speed_table(rows),
            'table2.md': about + paper_table(rows),
        }
        for name, text in texts.items():
            atomic_write(self.folder / name, text.encode())
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
    wrong = any(errors_of(row) for row in rows)
    return harness.Report(rows, text, {name: getattr(args, name) for name in FIXED}, int(wrong))
