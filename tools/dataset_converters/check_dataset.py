"""Check a data set: count its files against what was published and open some of them, or all.

Exit status: 0 if nothing is missing or damaged (a subset is legal, and said), 1 if something is,
2 for a mistake on the command line.
"""

import argparse
import os
import sys

import tracking.datasets.checking  # noqa: F401  adds the sets of tracking
from lightvit_dense.datasets.checking import CHECKS, SPLITS, Report, Request
from lightvit_dense.errors import UserError, require_known, run_tool
from lightvit_dense.utils.io import write_json
from lightvit_dense.utils.progress import Display
from lightvit_dense.utils.tables import print_table


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('name', metavar='NAME', help=f'one of {", ".join(CHECKS)}')
    add('root', nargs='?', help='its folder; default: $LIGHTVIT_DATA/NAME')
    add('--splits', nargs='+', metavar='SPLIT', help='such as train val; default: all')
    add('--samples', type=int, default=32, help='files to open of each part; default: 32')
    add('--full', action='store_true', help='open all files')
    add('--workers', type=int, default=4, help='threads that read; default: 4')
    add('--json', metavar='FILE', help='write the result there too')
    return parser.parse_args()


def check(args: argparse.Namespace) -> Report:
    """Do what the command line asks for."""
    require_known(args.name, CHECKS, 'NAME')
    if args.samples < 0 or args.workers < 1:
        raise UserError('--samples must not be negative and --workers at least 1')
    for split in args.splits or ():
        require_known(split, SPLITS[args.name], f'--splits of {args.name}')
    root = args.root or os.path.join(os.environ.get('LIGHTVIT_DATA', 'data'), args.name)
    splits = tuple(args.splits) if args.splits else None
    with Display(sys.stderr) as reporter:
        request = Request(splits, args.samples, args.full, args.workers, reporter)
        return CHECKS[args.name](root, request)


def print_report(report: Report) -> None:
    """Print what is there, what is missing and what is damaged."""
    rows = []
    for row in report.rows:
        expected = '-' if row.expected is None else row.expected
        rows.append((row.part, row.found, expected, row.opened or '-', row.state))
    width = None if sys.stdout.isatty() else 120
    title = f'{report.name} in {report.root}'
    print_table(('part', 'found', 'expected', 'opened', 'state'), rows, title, width)
    for note in report.notes:
        print(f'note: {note}.')
    for problem in report.problems:
        print(problem)
    subset = any(row.state == 'a subset' for row in report.rows)
    if not report.ok:
        print(f'{len(report.problems)} problem(s)')
    elif subset:
        print('All that is there is fine, but it is a subset: results will not compare.')
    else:
        print('All is fine.')


def main() -> int:
    """Run the tool; return its exit status."""
    args = parse_args()
    report = check(args)
    print_report(report)
    if args.json:
        write_json(args.json, report.to_dict())
    return 0 if report.ok else 1


if __name__ == '__main__':
    run_tool(main)
