"""Write the files of a folder into an LMDB, or check one.

Keys are paths relative to the folder, values the files as they are. A run that was stopped, by
whatever, goes on where it was when the same command is given again.
"""

import argparse
import sys
import time

from lightvit_dense.datasets.lmdb_writer import LmdbReport, verify_lmdb, write_lmdb
from lightvit_dense.datasets.unlabeled import EXTENSIONS
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.progress import Display


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', nargs='?', help='folder to read; not with --verify')
    parser.add_argument('lmdb', help='folder of the LMDB')
    endings = dict(nargs='+', default=list(EXTENSIONS), metavar='.EXT')
    text = 'endings of files to take, such as .jpg .txt .json; default: those of images'
    parser.add_argument('--extensions', **endings, help=text)
    parser.add_argument('--all-files', action='store_true', help='take files of any ending')
    parser.add_argument('--readers', type=int, default=8, help='threads that read; default: 8')
    parser.add_argument('--verify', action='store_true', help='write nothing, check an LMDB')
    parser.add_argument('--no-verify', action='store_true', help='write without reading back')
    return parser.parse_args()


def convert(args: argparse.Namespace) -> LmdbReport:
    """Do what the command line asks for."""
    if args.readers < 1:
        raise UserError(f'--readers {args.readers}: at least one thread has to read')
    if args.verify == (args.source is not None):
        raise UserError('give SOURCE and LMDB to write, or --verify LMDB to check')
    if args.verify and args.no_verify:
        raise UserError('--verify and --no-verify exclude each other')
    extensions = None if args.all_files else args.extensions
    with Display(sys.stderr, 1 if args.verify or args.no_verify else 2) as show:
        if args.verify:
            return verify_lmdb(args.lmdb, args.readers, show)
        verify = not args.no_verify
        return write_lmdb(args.source, args.lmdb, extensions, args.readers, show, verify)


def main() -> None:
    """Run the tool."""
    args, start = parse_args(), time.monotonic()
    report = convert(args)
    meta = report.meta
    print(f'{args.lmdb}: {meta.count} files, {meta.size} bytes, {report.size} on disk')
    if not args.verify:
        wrote = meta.count - report.resumed
        print(f'{wrote} written, {report.resumed} were there already')
    print('not verified' if args.no_verify else 'every file matches its SHA-256')
    print(f'sha256 of all: {meta.sha256}')
    print(f'{time.monotonic() - start:.1f} s')


if __name__ == '__main__':
    run_tool(main)
