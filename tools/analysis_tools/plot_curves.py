"""Plot what runs have logged into one picture, and print first and last values as a table.

Example:
    python tools/analysis_tools/plot_curves.py D-MAE=work_dirs/dmae_student \
        --keys "agreement/layer_[56]" --out agreement.png
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.visualization import curves


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('runs', nargs='+', metavar='[NAME=]DIR', help='work directories')
    parser.add_argument('--keys', default=r'^loss$', help='regular expression of the scalars')
    parser.add_argument('--out', required=True, help='picture to write, .png or .svg')
    parser.add_argument('--title', default='', help='title of the picture')
    parser.add_argument('--ylabel', default='', help='label of the y axis')
    parser.add_argument('--smooth', type=int, default=1, help='mean over so many points')
    parser.add_argument('--log', action='store_true', help='logarithmic y axis')
    args = parser.parse_args(argv)
    if Path(args.out).suffix not in ('.png', '.svg'):
        parser.error(f'--out {args.out}: the name must end in .png or .svg')
    if args.smooth < 1:
        parser.error('--smooth must be at least 1')
    return args


def _order(key: str) -> list[str | int]:
    """Sort layer_10 behind layer_9."""
    head, _, tail = key.rpartition('_')
    return [head, int(tail)] if tail.isdigit() else [key, 0]


def collect(args: argparse.Namespace) -> list[curves.Series]:
    """Read the curves that were asked for.

    Raises:
        UserError: If a run has logged nothing, or nothing of that name.
    """
    found = []
    for word in args.runs:
        name, equals, folder = word.partition('=')
        folder = folder if equals else word
        files = curves.find_scalars(folder)
        if not files:
            raise UserError(f'{folder}: no vis_data/scalars.json below it; give a work directory')
        records = curves.read_scalars(files)
        keys = sorted(curves.keys_matching(records, args.keys), key=_order)
        if not keys:
            known = ', '.join(sorted({key for record in records for key in record}))
            raise UserError(f'{folder}: no scalar matches {args.keys!r}; there are {known}')
        label = name if equals else Path(folder).name
        found += [curves.series(records, key, f'{label}: {key}') for key in keys]
    return [curves.smooth(curve, args.smooth) for curve in found]


def main() -> int:
    """Run the tool; return its exit status."""
    args = parse_args()
    lines = collect(args)
    table = Table()
    for column in ('curve', 'first', 'last', 'least', 'greatest', 'points'):
        table.add_column(column, justify='left' if column == 'curve' else 'right')
    for curve in lines:
        values = curve.values
        numbers = (values[0], values[-1], min(values), max(values)) if values else ()
        table.add_row(curve.name, *(f'{number:.4g}' for number in numbers), str(len(values)))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    figure = curves.plot(lines, args.title, args.ylabel, log_y=args.log)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=120, facecolor='white')
    print(f'Written to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
