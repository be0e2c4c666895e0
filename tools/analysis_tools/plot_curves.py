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
from lightvit_dense.utils.logs import Series, find_logs, keys_matching, read_scalars, series, smooth
from lightvit_dense.visualization.curves import plot, save_plot


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
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


def collect(args: argparse.Namespace) -> list[Series]:
    """Read the curves that were asked for.

    Raises:
        UserError: If a run has logged nothing, or nothing of that name.
    """
    found = []
    for word in args.runs:
        name, equals, folder = word.partition('=')
        folder = folder if equals else word
        records = read_scalars(find_logs(folder))
        keys = keys_matching(records, args.keys)
        if not keys:
            known = ', '.join(sorted({key for record in records for key in record}))
            raise UserError(f'{folder}: no scalar matches {args.keys!r}; there are {known}')
        label = name if equals else Path(folder).name
        found += [series(records, key, f'{label}: {key}') for key in keys]
    return [smooth(curve, args.smooth) for curve in found]


def main() -> int:
    """Run the tool; return its exit status."""
    args = parse_args()
    lines = collect(args)
    table = Table('curve')
    for column in ('first', 'last', 'least', 'greatest', 'points'):
        table.add_column(column, justify='right')
    for curve in lines:
        values = curve.values
        numbers = (values[0], values[-1], min(values), max(values)) if values else ()
        table.add_row(curve.name, *(f'{number:.4g}' for number in numbers), str(len(values)))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    save_plot(plot(lines, args.title, args.ylabel, log_y=args.log), args.out)
    print(f'Written to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
