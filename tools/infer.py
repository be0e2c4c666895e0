"""Run a trained model over files, folders and videos; save pictures and JSON.

Example:
    python tools/infer.py configs/toyworld/maskrcnn_dmae.py CHECKPOINT.pth photos/ --out found
"""

import argparse
import sys
from contextlib import closing
from typing import Any

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options, add_tta_options, tta_of
from lightvit_dense.apis.inference import Sources
from lightvit_dense.deploy.file_model import file_inferencer
from lightvit_dense.errors import run_tool
from lightvit_dense.utils.progress import Display, Progress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    usage = '%(prog)s (CONFIG CHECKPOINT | --model FILE) INPUT ... --out DIR [options]'
    parser = argparse.ArgumentParser(description='Look at pictures with a model', usage=usage)
    add = parser.add_argument
    text = 'image, folder or video; before the first the config file and the checkpoint file'
    add('inputs', nargs='+', metavar='INPUT', help=text)
    add('--model', metavar='FILE', help='an exported model, instead of config and checkpoint')
    add('--out', required=True, metavar='DIR', help='folder of what is found')
    add(
        '--device',
        help="'cpu', 'cuda', 'cuda:1' (default: a GPU if there is one; of a file the CPU)",
    )
    add('--batch-size', type=int, default=1, help='pictures at a time (default: 1)')
    add('--recursive', action='store_true', help='search folders in depth')
    add('--score-thr', type=float, help='detection: least score (default: 0.3)')
    add('--max-per-image', type=int, help='detection: at most so many objects')
    add_tta_options(parser)
    add('--no-pictures', action='store_true', help='do not paint anything')
    add('--palette', action='store_true', help='segmentation: label maps with a palette')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size}: expected a positive number')
    if args.model and (args.tta or args.cfg_options):
        parser.error('--tta and --cfg-options do not go with --model')
    if not args.model:
        if len(args.inputs) < 3:
            parser.error('give CONFIG CHECKPOINT INPUT ..., or --model FILE INPUT ...')
        args.config, args.checkpoint, *args.inputs = args.inputs
    return args


def make_inferencer(args: argparse.Namespace) -> Any:
    """Build the inferencer that the command line asks for."""
    given = dict(score_thr=args.score_thr, max_per_image=args.max_per_image)
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    tta = tta_of(args)
    if tta is not None:
        options['tta'] = tta
    if args.model:
        return file_inferencer(args.model, args.device, **options)
    config = apis.load_config(args.config, args.cfg_options)
    return apis.make_inferencer(config, args.checkpoint, args.device, **options)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if an input could not be used."""
    args = parse_args(argv)
    inferencer = make_inferencer(args)
    failures: list[Any] = []
    total = Sources(args.inputs, args.recursive).total() or 0
    done = 0
    with closing(Display()) as display:
        display.start(1, 1, inferencer.task)
        for _ in inferencer.stream(
            args.inputs,
            batch_size=args.batch_size,
            out_dir=args.out,
            recursive=args.recursive,
            on_error=failures.append,
            pictures=not args.no_pictures,
            palette=args.palette,
        ):
            done += 1
            display.update(Progress(done, max(total, done + len(failures))))
        display.finish(f'{done} pictures, results in {args.out}')
    for failure in failures:
        print(f'not read: {failure}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    run_tool(main)
