"""Build a toy world: small, exact data sets made of real photographs and objects."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from lightvit_dense.datasets.toyworld import (
    CLASSES,
    ToyWorldError,
    WorldReport,
    WorldSpec,
    build_world,
)
from lightvit_dense.datasets.toyworld.layouts import LAYOUTS
from lightvit_dense.errors import UserError
from lightvit_dense.visualization import detection_grid, write_image

_COLUMNS = ('videos', 'images', 'absent', 'instances', 'small', 'medium', 'large')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    default = WorldSpec()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--out', default='data/toyworld', help='folder of the world')
    parser.add_argument('--image-size', type=int, default=default.image_size, help='pixels')
    parser.add_argument('--train', type=int, default=default.train, help='training images')
    parser.add_argument('--val', type=int, default=default.val, help='validation images')
    parser.add_argument('--unlabeled', type=int, default=default.unlabeled, help='unlabelled ones')
    parser.add_argument(
        '--portraits',
        type=int,
        default=default.portraits,
        help="training images of the layout 'imagenet', one object each",
    )
    parser.add_argument(
        '--videos', type=int, default=default.videos, help="training videos of the layout 'lasot'"
    )
    parser.add_argument(
        '--test-videos', type=int, default=default.test_videos, help='its test videos'
    )
    parser.add_argument(
        '--video-frames', type=int, default=default.video_frames, help='frames of a training video'
    )
    parser.add_argument(
        '--test-frames', type=int, default=default.test_frames, help='frames of a test video'
    )
    parser.add_argument('--seed', type=int, default=default.seed, help='seed of everything')
    choices = f'object classes, out of {", ".join(CLASSES)}'
    parser.add_argument('--classes', nargs='+', default=list(default.classes), help=choices)
    layouts = f'dataset layouts, out of {", ".join(LAYOUTS)}'
    parser.add_argument('--layouts', nargs='+', default=['coco'], help=layouts)
    parser.add_argument('--workers', type=int, default=2, help='processes; 0 for this one')
    parser.add_argument('--preview', metavar='FILE.png', help='write a contact sheet')
    parser.add_argument('--preview-split', choices=['train', 'val'], default='val')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser.parse_args()


def print_report(report: WorldReport) -> None:
    """Print what is in the world."""
    console = Console()
    done = 'Built' if report.built else 'Kept'
    print(f'{done} {report.root} in {report.seconds:.1f} s: {report.reason}')
    for layout, splits in report.stats.items():
        table = Table(title=f'{layout} layout')
        table.add_column('split')
        columns = [name for name in _COLUMNS if any(name in counts for counts in splits.values())]
        for name in columns:
            table.add_column(name, justify='right')
        for split, counts in splits.items():
            table.add_row(split, *(str(counts.get(name, '-')) for name in columns))
        console.print(table)
        for split, counts in splits.items():
            for kind in ('classes', 'attributes'):
                if kind in counts:
                    parts = ', '.join(f'{name} {n}' for name, n in counts[kind].items())
                    print(f'{split}: {parts}')


def main() -> int:
    """Run the tool; return its exit status."""
    args = parse_args()
    try:
        spec = WorldSpec(
            seed=args.seed,
            image_size=args.image_size,
            train=args.train,
            val=args.val,
            unlabeled=args.unlabeled,
            portraits=args.portraits,
            videos=args.videos,
            test_videos=args.test_videos,
            video_frames=args.video_frames,
            test_frames=args.test_frames,
            classes=tuple(args.classes),
        )
        report = build_world(args.out, spec, args.layouts, args.workers, not args.quiet)
        print_report(report)
        if args.preview:
            if 'coco' not in report.stats:
                raise ToyWorldError('--preview draws the layout coco; add it to --layouts')
            coco, split = report.root / 'coco', f'{args.preview_split}2017'
            ann_file = coco / f'annotations/instances_{split}.json'
            sheet = detection_grid(ann_file, coco / split, count=24, width=240, columns=6)
            write_image(args.preview, sheet)
            print(f'Contact sheet: {args.preview}')
    except (ToyWorldError, UserError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
