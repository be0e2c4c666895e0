"""Build a toy world: small, exact data sets made of real photographs and objects."""

import argparse
import os
from pathlib import Path

from lightvit_dense.datasets import toyworld
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.tables import print_table
from lightvit_dense.visualization import detection_grid, write_image

DATA = Path(os.environ.get('LIGHTVIT_DATA', 'data'))
_NUMBERS = {
    'image_size': 'pixels',
    'train': 'training images',
    'val': 'validation images',
    'unlabeled': 'unlabelled ones',
    'portraits': "training images of the layout 'imagenet', one object each",
    'videos': "training videos of the layout 'lasot'",
    'test_videos': 'its test videos',
    'video_frames': 'frames of a training video',
    'test_frames': 'frames of a test video',
    'seed': 'seed of everything',
}
_COLUMNS = ('videos', 'images', 'absent', 'instances', 'small', 'medium', 'large')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    default = toyworld.WorldSpec()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    where = f'folder of the world (default: {DATA}/toyworld, of stamps {DATA}/stampworld)'
    parser.add_argument('--out', help=where)
    sets = 'cut-outs: toys, the same everywhere; stamps, strangers in validation and test'
    parser.add_argument('--objects', choices=list(toyworld.OBJECT_SETS), default='toys', help=sets)
    stamps = 'folder of the unpacked package tuxpaint-stamps-default; by default fetched into '
    stamps += f'{DATA}/tuxpaint-stamps'
    parser.add_argument('--stamps', metavar='DIR', help=stamps)
    for name, what in _NUMBERS.items():
        option = f'--{name.replace("_", "-")}'
        parser.add_argument(option, type=int, default=getattr(default, name), help=what)
    choices = '; '.join(
        f'of {kind} {", ".join(names)}' for kind, names in toyworld.OBJECT_SETS.items()
    )
    choices += f' (default: {", ".join(default.classes)}; of stamps all)'
    parser.add_argument('--classes', nargs='+', help=choices)
    layouts = f'dataset layouts, out of {", ".join(toyworld.LAYOUTS)}'
    parser.add_argument('--layouts', nargs='+', default=['coco'], help=layouts)
    parser.add_argument('--workers', type=int, default=2, help='processes; 0 for this one')
    parser.add_argument('--preview', metavar='FILE.png', help='write a contact sheet')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    unset = dict(out=None, stamps=None, classes=default.classes, preview=None, quiet=False)
    args = parser.parse_args(namespace=argparse.Namespace(**unset))
    if args.stamps and args.objects != 'stamps':
        parser.error('--stamps goes with --objects stamps')
    args.out = args.out or DATA / ('stampworld' if args.objects == 'stamps' else 'toyworld')
    return args


def print_report(report: toyworld.WorldReport) -> None:
    """Print what is in the world."""
    done = 'Built' if report.built else 'Kept'
    print(f'{done} {report.root} in {report.seconds:.1f} s: {report.reason}')
    for layout, splits in report.stats.items():
        columns = [name for name in _COLUMNS if any(name in counts for counts in splits.values())]
        rows = [(name, *(n.get(key, '-') for key in columns)) for name, n in splits.items()]
        print_table(('split', *columns), rows, f'{layout} layout', width=None)
        for split, counts in splits.items():
            for kind in ('classes', 'attributes'):
                if kind in counts:
                    parts = ', '.join(f'{name} {n}' for name, n in counts[kind].items())
                    print(f'{split}: {parts}')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    numbers = {name: getattr(args, name) for name in _NUMBERS}
    stamps = args.stamps or ''
    if args.objects == 'stamps' and not stamps:
        stamps = str(toyworld.fetch_stamps(DATA / 'tuxpaint-stamps'))
    spec = toyworld.WorldSpec(
        object_set=args.objects, stamps=stamps, classes=tuple(args.classes), **numbers
    )
    report = toyworld.build_world(args.out, spec, args.layouts, args.workers, not args.quiet)
    print_report(report)
    if args.preview:
        if 'coco' not in report.stats:
            raise UserError('--preview draws the layout coco; add it to --layouts')
        coco = report.root / 'coco'
        ann_file = coco / 'annotations/instances_val2017.json'
        sheet = detection_grid(ann_file, coco / 'val2017', count=24, width=240, columns=6)
        write_image(args.preview, sheet)
        print(f'Contact sheet: {args.preview}')


if __name__ == '__main__':
    run_tool(main)
