"""Write a list of a part of ImageNet for `ann_file`: the same share of every class, or a long tail.

The published lists of 1%, 10% and ImageNet-LT can be used as they are; this tool makes others. A
long tail has class sizes like ImageNet-LT's, but other images. Of one seed, a smaller subset is
part of a larger one.

Example:
    make_subset.py DATA/imagenet DATA/imagenet/1percent.txt --fraction 0.01
    make_subset.py DATA/imagenet DATA/imagenet/long_tail.txt --long-tail
"""

import argparse
from pathlib import Path

import numpy as np

from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.datasets import ImageNet
from lightvit_dense.datasets.subsets import balanced_subset, long_tail_sizes, sized_subset
from lightvit_dense.errors import run_tool


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('data_root', help='root of the data')
    parser.add_argument('out', help='list to write')
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--fraction', type=float, help='share of each class, such as 0.01')
    kind.add_argument('--long-tail', action='store_true', help='class sizes like ImageNet-LT')
    for kind_of, size in (('largest', 1280), ('smallest', 5)):
        text = f'size of the {kind_of} class of a long tail'
        parser.add_argument(f'--{kind_of}', type=int, default=size, help=text)
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--img-dir', default='train', help='folder below the root; default: train')
    parser.add_argument('--source', choices=['folder', 'lmdb'], default='folder')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    dataset = ImageNet(args.data_root, args.img_dir, source=args.source)
    labels = dataset.labels()
    if args.long_tail:
        sizes = long_tail_sizes(labels, args.largest, args.smallest, args.seed)
        places = sized_subset(labels, sizes, args.seed)
    else:
        places = balanced_subset(labels, args.fraction, args.seed)
    lines = ['{} {}\n'.format(*dataset.entry(place)) for place in places.tolist()]
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(''.join(lines), encoding='utf-8')
    counts = np.unique(labels[places], return_counts=True)[1]
    print(
        f'{args.out}: {len(lines)} of {len(dataset)} images of {len(counts)} classes, '
        f'{counts.min()} to {counts.max()} a class'
    )


if __name__ == '__main__':
    run_tool(main)
