"""Time our classifiers and their rivals: throughput, latency, memory, arithmetic.

Every model is measured in a process of its own, in several passes over all models, every other one
backwards, so that what the machine does meanwhile hits all alike. Weights are random. The folder of
results gets speed.md, speed.csv, speed.json, table2.md (every row of table 2 of "A Closer Look at
Self-Supervised Lightweight Vision Transformers" beside what was measured) and pictures of speed
against published accuracy; the tables are brought up to date after each model, and --resume goes on
with what is missing.

Example:
    python tools/benchmark/classification_speed.py --modes throughput --out table2
    python tools/benchmark/classification_speed.py --minutes 22
    python tools/benchmark/classification_speed.py --models vit_tiny timm:vit_tiny_patch16_224 \
        configs/imagenet/deit_vit-tiny_300e.py --modes latency onnx --threads 1 --out one_thread
    python tools/benchmark/classification_speed.py --device cuda --amp fp16 --channels-last
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import lightvit_dense
from lightvit_dense.analysis import speed_table
from lightvit_dense.analysis.classification_models import SPEED_MODELS, speed_model
from lightvit_dense.analysis.inference_speed import MODES, SpeedSettings
from lightvit_dense.analysis.speed_passes import SpeedPasses, work
from lightvit_dense.analysis.speed_plot import bubbles, scatter
from lightvit_dense.analysis.training_step import DTYPES
from lightvit_dense.errors import run_tool
from lightvit_dense.utils.progress import Eta, clock
from lightvit_dense.utils import environment as measure
from lightvit_dense.visualization.curves import save_png

PICTURES = {
    'throughput': 'images/s',
    'latency': 'ms for one image, eager',
    'compiled': 'ms for one image, compiled',
    'onnx': 'ms for one image, ONNX Runtime on the CPU',
}
"""Pictures by mode, and their axes."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        epilog=f"models: {', '.join(SPEED_MODELS)}, timm:NAME, the path of a classifier's config",
    )
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='MODEL',
        default=list(SPEED_MODELS),
        help='what to measure, see below (default: all that are named)',
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=MODES,
        default=list(MODES),
        help='batches, or one image eager, compiled, in ONNX Runtime (default: all)',
    )
    parser.add_argument('--out', default='work_dirs/classification_speed', help='folder of results')
    parser.add_argument('--resume', action='store_true', help='measure only what --out lacks')
    parser.add_argument('--passes', type=int, default=3, help='passes over all models (default: 3)')
    parser.add_argument('--minutes', type=float, help='start no further pass that would end later')
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: cuda, if any')
    parser.add_argument('--amp', choices=list(DTYPES), default='none', help='mixed precision')
    parser.add_argument('--channels-last', action='store_true', help='memory layout of images')
    parser.add_argument('--threads', type=int, help='CPU threads (default: as torch chooses)')
    parser.add_argument('--batch', type=int, help='throughput batch (default: 1024, CPU 16)')
    parser.add_argument(
        '--budget', type=float, default=6.0, help='seconds of timed calls a mode (default: 6)'
    )
    parser.add_argument('--repeats', type=int, default=30, help='most latency calls (default: 30)')
    parser.add_argument('--warmup', type=int, default=2, help='calls before (default: 2)')
    parser.add_argument(
        '--timeout', type=float, default=1200, help='seconds for a model in a pass (default: 1200)'
    )
    parser.add_argument('--worker', metavar='FILE', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: this machine has no GPU that torch can use')
    if args.amp != 'none' and args.device == 'cpu':
        parser.error('--amp needs a GPU; add --device cuda on a machine that has one')
    args.batch = args.batch if args.batch is not None else {'cpu': 16}.get(args.device, 1024)
    for name in ('passes', 'batch', 'repeats', 'threads'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    if args.budget <= 0 or args.timeout <= 0 or args.warmup < 0:
        parser.error('--budget and --timeout must be above 0, --warmup not below')
    return args


class Report:
    """Tables and pictures of what the passes have found so far.

    Args:
        passes: The measurements.
        count: How many passes there are to be.
    """

    def __init__(self, passes: SpeedPasses, count: int) -> None:
        self.passes, self.count, self.settings = passes, count, passes.settings
        self.entries = {name: speed_model(name) for name in passes.models}
        self.machine = {
            **measure.hardware(),
            'torch': str(torch.__version__),
            'lightvit_dense': lightvit_dense.__version__,
            'load_at_start': round(os.getloadavg()[0], 2),
        }
        if self.settings.threads:
            self.machine['torch_threads'] = self.settings.threads
        self._start, self._eta, self._done = time.monotonic(), Eta(), 0

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each model that has been measured."""
        rows = []
        for name, entry in self.entries.items():
            found = [self.passes.cells(number, name) for number in range(1, self.count + 1)]
            found = [cells for cells in found if 'size' in cells]
            if found:
                row = speed_table.make_row(name, entry.title, entry.note, entry.size, found)
                rows.append(row)
        return rows

    def where(self) -> str:
        """Return what was measured on, in words."""
        machine = self.machine
        precision = {'none': 'fp32'}.get(self.settings.amp, self.settings.amp)
        if self.settings.device == 'cuda':
            return f'{machine["gpu"]}, {precision}'
        return f'{machine["cpu"]}, {machine["torch_threads"]} threads, {precision}'

    def write(self) -> list[dict[str, Any]]:
        """Write the tables; returns the rows."""
        rows = self.rows()
        counts = sorted({row['passes'] for row in rows}) or [0]
        number = f'{counts[0]}' if len(counts) == 1 else f'{counts[0]} to {counts[-1]}'
        about = (
            f'*measured* on {self.where()}{", channels last" * self.settings.channels_last}, '
            f'torch {self.machine["torch"]}; passes: {number}; load of the machine before: '
            f'{self.machine["load_at_start"]}.'
        )
        result = {'machine': self.machine, 'settings': asdict(self.settings), 'results': rows}
        texts = {
            'speed.json': json.dumps(result, indent=2) + '\n',
            'speed.csv': speed_table.to_csv(rows),
            'speed.md': speed_table.markdown(rows, about),
            'table2.md': speed_table.paper_table(rows, about),
        }
        for name, text in texts.items():
            new = self.passes.folder / f'.{name}'
            new.write_text(text, encoding='utf-8')
            new.replace(self.passes.folder / name)
        return rows

    def tell(self, number: int, model: str) -> None:
        """Bring the tables up to date and print a line about a model that is done."""
        self._done += 1
        total, now = self.count * len(self.entries), time.monotonic()
        left = self._eta(self._done / total, now)
        row = next((row for row in self.write() if row['model'] == model), {})
        errors = speed_table.errors_of(row) if row else ['no result']
        rate = row.get('throughput', {}).get('images_per_s')
        words = [f'{len(errors)} errors' if errors else 'done']
        words += [f'{rate["median"]:.4g} images/s'] if rate else []
        print(
            f'[{self._done}/{total}] pass {number}, {self.entries[model].title}: '
            f'{", ".join(words)} | elapsed {clock(now - self._start)}, at most {clock(left)} left',
            *(f'    {error}' for error in errors),
            sep='\n',
            file=sys.stderr,
            flush=True,
        )

    def draw(self, rows: Sequence[dict[str, Any]]) -> list[Path]:
        """Draw speed against accuracy for each mode; returns the files."""
        files = []
        for mode, axis in PICTURES.items():
            points = bubbles(rows, mode)
            if points:
                figure = scatter(points, f'{axis} (measured)', f'{axis}: {self.where()}')
                files.append(self.passes.folder / f'{mode}.png')
                save_png(figure, files[-1])
        return files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns 1 if a cell is an error."""
    args = parse_args(argv)
    if args.worker:
        work(args.worker)
        return 0
    settings = {name: getattr(args, name) for name in SpeedSettings.__dataclass_fields__}
    passes = SpeedPasses(
        Path(args.out),
        tuple(speed_table.in_order(list(dict.fromkeys(args.models)))),
        tuple(dict.fromkeys(args.modes)),
        SpeedSettings(**settings),
        (sys.executable, str(Path(__file__).resolve()), '--worker'),
        args.timeout,
    )
    report = Report(passes, args.passes)
    passes.open(args.resume)
    load, cores = report.machine['load_at_start'], report.machine['cores']
    if load > 0.5 * cores:
        print(f'warning: load {load} on {cores} cores: timings will be off', file=sys.stderr)
    left_out = passes.run(args.passes, args.minutes, report.tell)
    if left_out:
        print(f'left out for lack of time: passes {left_out}; --resume runs them', file=sys.stderr)
    rows = report.write()
    pictures = report.draw(rows)
    for name in ('speed.md', 'table2.md'):
        print((passes.folder / name).read_text(encoding='utf-8'))
    print('pictures:', ', '.join(map(str, pictures)) or 'none: no model has a published accuracy')
    wrong = any(speed_table.errors_of(row) for row in rows) or len(rows) < len(passes.models)
    return int(wrong)


if __name__ == '__main__':
    sys.exit(run_tool(main))
