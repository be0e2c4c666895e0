"""Write LaSOT, GOT-10k, TrackingNet or COCO into LMDBs from which trackers are trained.

Keys are paths relative to the data set's root, as in the LMDBs of STARK and OSTrack, values the
files as they are; TrackingNet gets one LMDB for each of its sets, and seq_list.json beside them. A
run that was stopped goes on where it was when the same command is given again. The data sets of
``tracking`` read the result by ``source='lmdb'`` and ``data_root=TARGET``.

Example:
    python tools/dataset_converters/make_tracking_lmdb.py lasot data/lasot data/lasot.lmdb
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.errors import UserError, require_known, run_tool
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.progress import Display

LAYOUTS = {
    'lasot': (('*/*/groundtruth.txt',), ('.jpg', '.txt')),
    'got10k': (
        ('train/list.txt', 'val/list.txt', 'test/list.txt'),
        ('.jpg', '.txt', '.label', '.ini'),
    ),
    'trackingnet': (('TRAIN_*/anno/*.txt', 'TEST/anno/*.txt'), ('.jpg', '.txt')),
    'coco': (('annotations/*.json',), ('.jpg', '.json')),
}
"""Of each set the patterns of which one has to match a file, and the endings of files to take."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('name', metavar='NAME', help=f'one of {", ".join(LAYOUTS)}')
    parser.add_argument('source', help='root of the data set')
    parser.add_argument('target', help='folder of the LMDB; of the LMDBs for trackingnet')
    parser.add_argument('--readers', type=int, default=8, help='threads that read; default: 8')
    parser.add_argument('--no-verify', action='store_true', help='write without reading back')
    return parser.parse_args(argv)


def find_parts(name: str, source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the folders to write and the LMDB of each."""
    marks = LAYOUTS[name][0]
    if not source.is_dir():
        raise DatasetError(f'{source}: this folder does not exist')
    if not any(next(source.glob(mark), None) for mark in marks):
        raise DatasetError(
            f'{source}: does not hold {name}; there is no {" or ".join(marks)} in it. Give '
            "the data set's root."
        )
    if name != 'trackingnet':
        return [(source, target)]
    sets = [path for path in source.iterdir() if (path / 'anno').is_dir()]
    named = [path for path in sets if path.name == 'TEST' or path.name.startswith('TRAIN_')]
    return [(path, target / f'{path.name}_lmdb') for path in sorted(named)]


def write_list(parts: Sequence[tuple[Path, Path]], target: Path) -> int:
    """Write TrackingNet's list of videos; return how many there are."""
    listed = [
        (int(source.name.removeprefix('TRAIN_')), path.stem)
        for source, _ in parts
        if source.name != 'TEST'
        for path in sorted((source / 'anno').glob('*.txt'))
    ]
    atomic_write(target / 'seq_list.json', json.dumps(sorted(listed)).encode())
    return len(listed)


def write_part(source: Path, base: Path, args: argparse.Namespace) -> None:
    """Write an LMDB, read it back if that is asked for, and say how many files it has."""
    endings, verify = LAYOUTS[args.name][1], not args.no_verify
    with Display(sys.stderr, 1 + verify) as show:
        report = write_lmdb(source, base, endings, args.readers, show, verify)
    wrote = report.meta.count - report.resumed
    print(
        f'{base}: {report.meta.count} files, {report.meta.size} bytes; {wrote} written, '
        f'{report.resumed} were there already'
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args, start = parse_args(argv), time.monotonic()
    require_known(args.name, LAYOUTS, 'NAME')
    if args.readers < 1:
        raise UserError(f'--readers {args.readers}: at least one thread has to read')
    target = Path(args.target)
    parts = find_parts(args.name, Path(args.source), target)
    for source, base in parts:
        write_part(source, base, args)
    if args.name == 'trackingnet':
        print(f'{target / "seq_list.json"}: {write_list(parts, target)} training videos')
    print('not verified' if args.no_verify else 'every file matches its SHA-256')
    print(f'{time.monotonic() - start:.1f} s')


if __name__ == '__main__':
    run_tool(main)
