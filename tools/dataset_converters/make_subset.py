"""Write a list of a class-balanced part of ImageNet, such as 1% or 10%, for `ann_file`.

The published lists of 1% and 10% can be used as they are; this tool makes others.
"""

import argparse
import sys
from pathlib import Path

from lightvit_dense.datasets import ImageNet
from lightvit_dense.datasets.subsets import subset_lines
from lightvit_dense.errors import run_tool


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data_root', help='root of the data')
    parser.add_argument('out', help='list to write')
    parser.add_argument('--fraction', type=float, required=True, help='share of each class')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--img-dir', default='train', help='folder below the root; default: train')
    parser.add_argument('--source', choices=['folder', 'lmdb'], default='folder')
    parser.add_argument('--lmdb-path', default='imagenet.lmdb', help='LMDB below the root')
    return parser.parse_args()


def main() -> int:
    """Run the tool; return its exit status."""
    args = parse_args()
    dataset = ImageNet(args.data_root, args.img_dir, source=args.source, lmdb_path=args.lmdb_path)
    lines = subset_lines(dataset, args.fraction, args.seed)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
    classes = len(dataset.metainfo['classes'])
    print(f'{args.out}: {len(lines)} of {len(dataset)} images of {classes} classes')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
