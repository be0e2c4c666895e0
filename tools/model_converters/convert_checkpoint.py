"""Say what a checkpoint is, and write its backbone for ourselves, for timm or for Hugging Face.

The same tool strips a training checkpoint for publication: the result is the backbone alone, with
a .json that holds its sizes, its SHA-256, and that of the file it came from. --with-head keeps the
classifier: a file for ourselves then goes into tools/test.py.

Example:
    python tools/model_converters/convert_checkpoint.py mae_pretrain_vit_base.pth --dry-run
"""

import argparse
import json
from dataclasses import asdict

from lightvit_dense.checkpoints.conversion import convert_checkpoint, inspect_checkpoint
from lightvit_dense.checkpoints.export import EXPORT_FORMATS
from lightvit_dense.errors import run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Inspect, convert and strip checkpoints')
    parser.add_argument('source', help='checkpoint file, or a folder of Hugging Face')
    parser.add_argument(
        'destination',
        nargs='?',
        help='.safetensors file to write, with --with-head also .pth; a folder for --to hf',
    )
    parser.add_argument('--to', choices=list(EXPORT_FORMATS), default='ours', help='output format')
    parser.add_argument(
        '--arch', help='what the backbone should be, e.g. vit-tiny or hiera-tiny; tells the heads'
    )
    parser.add_argument(
        '--heads', type=int, help="attention heads (of Hiera's first stage); shapes do not tell"
    )
    parser.add_argument(
        '--key',
        help="which network, if there are several: 'student', 'ema_state_dict', "
        "'momentum_encoder', 'ema_model', ...",
    )
    parser.add_argument(
        '--img-size',
        type=int,
        nargs='+',
        metavar='PX',
        help='side, or height and width, to resize the position table for',
    )
    parser.add_argument(
        '--with-head', action='store_true', help='convert the whole classifier, head included'
    )
    parser.add_argument(
        '--pool',
        choices=('mean', 'cls'),
        help='what the head reads, where the file does not tell it; goes with --with-head',
    )
    parser.add_argument(
        '--lossy', action='store_true', help='leave out what our backbone has no place for'
    )
    parser.add_argument('--half', action='store_true', help='write fp16')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be done')
    parser.add_argument('--json', action='store_true', help='print JSON instead of text')
    args = parser.parse_args(argv)
    if args.destination is None and not args.dry_run:
        parser.error('give a destination, or --dry-run')
    if args.pool and not args.with_head:
        parser.error('--pool goes with --with-head')
    if args.img_size is not None and len(args.img_size) > 2:
        parser.error('--img-size takes one or two numbers')
    return args


def main() -> None:
    """Run the tool."""
    args = parse_args()
    found = inspect_checkpoint(args.source, args.key, args.arch, args.heads)
    size = None if args.img_size is None else (args.img_size[0], args.img_size[-1])
    if not args.json:
        print(found)
    if found.sizes.heads is None and args.dry_run:
        report, metadata, told = None, None, 'To convert it, say how many heads it has: --heads.'
    else:
        target = None if args.dry_run else args.destination
        report, metadata = convert_checkpoint(
            found, target, args.to, size, args.lossy, args.with_head, args.pool, args.half
        )
        told = f'{report}\n' + (
            f'Wrote {metadata}' if metadata else 'Nothing was written (--dry-run).'
        )
    if args.json:
        facts = dict(
            source=found.converted.source,
            container=found.opened.container,
            others=found.opened.others,
            sizes=asdict(found.sizes),
            report=report and asdict(report),
            written=metadata and str(metadata),
        )
        print(json.dumps(facts, indent=2))
    else:
        print(told)


if __name__ == '__main__':
    run_tool(main)
