"""Pack images: decode and resize them once, into tar shards that are read by source='packed'.

A run that was stopped, by whatever, goes on where it was when the same command is given again.
"""

import argparse
import os
import sys
from pathlib import Path

from lightvit_dense.datasets.converters.packer import Packer, open_source, verify_packed
from lightvit_dense.datasets.packed import PackSettings
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.progress import Display


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', nargs='?', help='folder or LMDB; needless with --verify')
    parser.add_argument('packed', type=Path, help='folder of the packed images')
    parser.add_argument('--list', default='', help='list of images to take, as for ann_file')
    parser.add_argument('--format', choices=['raw', 'jpeg'], default='raw', help='default: raw')
    parser.add_argument('--exif', action='store_true', help='turn images upright by EXIF')
    parser.add_argument('--verify', action='store_true', help='compare all with its SHA-256')
    parser.add_argument('--short-side', type=int, default=256, help='pixels (256)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads')
    parser.add_argument('--max-bad', type=int, default=0, help='unreadable images to tolerate (0)')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    if min(args.short_side, args.workers, args.max_bad + 1) < 1:
        raise UserError('--short-side and --workers have to be positive, and --max-bad 0 or more')
    if not args.source and not args.verify:
        raise UserError('give SOURCE and PACKED to pack images, or --verify PACKED to check them')
    with Display(sys.stderr, bool(args.source) + args.verify) as show:
        if args.source:
            source = open_source(args.source, args.list)
            settings = PackSettings(args.format, args.short_side, args.exif)
            meta = Packer(*source, args.packed, settings, args.workers, args.max_bad, show).pack()
        if args.verify:
            meta = verify_packed(args.packed, args.workers, show)
    size = sum(shard['filesize'] for shard in meta.shardlist) / 1e9
    print(f'{args.packed}: {meta.count} images in {len(meta.shardlist)} shards, {size:.3g} GB')
    print(f'{meta.small} with a side below {meta.settings.short_side} px keep their size')
    print(f'{len(meta.bad)} unreadable', *map(': '.join, meta.bad.items()), sep='\n  ')
    print('every file matches its SHA-256' if args.verify else 'not verified')


if __name__ == '__main__':
    run_tool(main)
