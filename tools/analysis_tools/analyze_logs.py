"""Plot what runs have logged (plot_curve), or print where their time went (cal_train_time).

Commands and options are those of mmdet's tool of the same name; work directories are read as well
as files, and a run that was resumed is one run.

Example:
    python tools/analysis_tools/analyze_logs.py plot_curve D-MAE=work_dirs/dmae_student \
        --keys loss "agreement/layer_[56]" --out curves.png
    python tools/analysis_tools/analyze_logs.py cal_train_time work_dirs/maskrcnn_dmae
"""

import argparse
import sys
from pathlib import Path

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.logs import Series, collect_curves, training_time
from lightvit_dense.utils.tables import print_table
from lightvit_dense.visualization.curves import plot, save_plot

KEYS = "scalars, e.g. loss, bbox_mAP or 'coco/bbox_mAP', or regular expressions"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest='task', required=True)
    add = tasks.add_parser('plot_curve', help='plot scalars of one or more runs').add_argument
    add('logs', nargs='+', metavar='[NAME=]LOG', help='work directory or scalars.json')
    add('--keys', nargs='+', default=['bbox_mAP'], help=KEYS)
    add('--legend', nargs='+', help='names of the curves, log by log, key by key')
    add('--title', default='', help='title of the picture')
    add('--start-iter', type=int, default=0, help='leave out what was before')
    add('--out', required=True, help='picture to write, .png or .svg')
    add = tasks.add_parser('cal_train_time', help='time of an iteration, and its std').add_argument
    add('logs', nargs='+', metavar='LOG', help='work directory or scalars.json')
    add('--include-outliers', action='store_true', help='count the first interval of every start')
    args = parser.parse_args(argv)
    if args.task == 'plot_curve' and Path(args.out).suffix not in ('.png', '.svg'):
        parser.error(f'--out {args.out}: the name must end in .png or .svg')
    return args


def plot_curve(args: argparse.Namespace) -> None:
    """Plot scalars against iterations, and print their first, last and extreme values."""
    found: list[Series] = []
    for word in args.logs:
        name, equals, log = word.partition('=')
        log = log if equals else word
        for curve in collect_curves(log, args.keys):
            points = zip(curve.steps, curve.values, strict=True)
            kept = [point for point in points if point[0] >= args.start_iter]
            if not kept:
                raise UserError(f'{log}: has no {curve.name} from iteration {args.start_iter} on')
            run = f'{name if equals else Path(log).name}: ' if equals or len(args.logs) > 1 else ''
            steps, values = zip(*kept, strict=True)
            found.append(Series(f'{run}{curve.name}', steps, values))
    if args.legend and len(args.legend) != len(found):
        raise UserError(f'--legend has {len(args.legend)} names for {len(found)} curves')
    if args.legend:
        names = zip(args.legend, found, strict=True)
        found = [Series(name, curve.steps, curve.values) for name, curve in names]
    save_plot(plot(found, args.title, size=(7, 4)), args.out)
    rows = []
    for curve in found:
        ends = (curve.values[0], curve.values[-1], min(curve.values), max(curve.values))
        rows.append((curve.name, *(f'{number:.4g}' for number in ends), len(curve.values)))
    columns = ('curve', 'first', 'last', 'least', 'greatest', 'points')
    print_table(columns, rows, width=None if sys.stdout.isatty() else 120)
    print(args.out)


def cal_train_time(args: argparse.Namespace) -> None:
    """Print the times of runs."""
    columns = ('run', 'iterations', 's/iter', 'std', 'fastest', 'slowest', 'waiting for data')
    rows = []
    for log in args.logs:
        time = training_time(log, args.include_outliers)
        ends = [f'{value:.4f} (to {step})' for value, step in (time.fastest, time.slowest)]
        numbers = [log, time.iterations, f'{time.mean:.4f}', f'{time.std:.4f}', *ends]
        rows.append([*numbers, f'{time.data_ratio:.1%}', f'{time.hours:.2f}', time.starts])
    print_table((*columns, 'hours', 'starts'), rows, width=140)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    {'plot_curve': plot_curve, 'cal_train_time': cal_train_time}[args.task](args)


if __name__ == '__main__':
    run_tool(main)
