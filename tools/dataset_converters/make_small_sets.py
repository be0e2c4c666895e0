"""Write small, real, labelled image sets that ordinary packages carry in ImageNet's layout.

`digits` (1797 of 8x8 px) is part of scikit-learn. `opencv-digits` (5000 of 20x20 px) and
`fashion-mnist` (60 000 and 10 000 of 28x28 px) are in the Debian packages opencv-doc and
dataset-fashion-mnist: installed, or unpacked and named with --source.

Example:
    python tools/dataset_converters/make_small_sets.py --sets digits
    python tools/dataset_converters/make_small_sets.py --source fashion-mnist=FOLDER
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.datasets.small_sets import SOURCES, write_set
from lightvit_dense.errors import UserError, require_known, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    default = Path(os.environ.get('LIGHTVIT_DATA', 'data')) / 'small'
    parser.add_argument('--out', type=Path, default=default, help=f'default: {default}')
    text = f'out of {", ".join(SOURCES)}; default: all'
    parser.add_argument('--sets', nargs='+', default=list(SOURCES), metavar='SET', help=text)
    text = 'folder of the unpacked package of a set; default: where Debian installs it'
    parser.add_argument('--source', nargs='+', default=[], metavar='SET=PATH', help=text)
    parser.add_argument('--lmdb', action='store_true', help='write an LMDB of each set, too')
    return parser.parse_args(argv)


def read_sources(words: Sequence[str]) -> dict[str, Path]:
    """Return the paths of ``--source`` by set."""
    sources = {}
    for word in words:
        name, equals, path = word.partition('=')
        if not equals or not path:
            raise UserError(f'--source {word}: write SET=PATH')
        require_known(name, SOURCES, '--source')
        if not Path(path).exists():
            raise UserError(f'--source {word}: {path} does not exist')
        sources[name] = Path(path)
    return sources


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    for name in args.sets:
        require_known(name, SOURCES, '--sets')
    sources, status = read_sources(args.source), 0
    for name in args.sets:
        try:
            data = SOURCES[name](sources.get(name))
            done = 'written' if write_set(data, args.out) else 'kept, it is whole'
            if args.lmdb:
                write_lmdb(args.out / name, args.out / name / 'imagenet.lmdb')
        except UserError as error:
            print(f'error: {name}: {error}', file=sys.stderr)
            status = 2
            continue
        train, val = data.counts.values()
        print(
            f'{args.out / name}: {train} + {val} images of {len(data.classes)} classes, {done}. '
            f'Licence: {data.licence}'
        )
    return status


if __name__ == '__main__':
    run_tool(main)
