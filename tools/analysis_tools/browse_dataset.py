"""Draw what a config's pipeline makes of its data: boxes, masks, label maps, classes, views.

Shown are the items that go to the data preprocessor, by the config's own pipeline. What happens
to whole batches later, such as mixing images, is not shown.

Example:
    python tools/analysis_tools/browse_dataset.py configs/toyworld/maskrcnn_scratch.py --n 16 \
        --out work_dirs/browse
"""

import argparse
import sys
from pathlib import Path

import cv2
from mmengine.config import DictAction

from lightvit_dense import apis
from lightvit_dense.apis.configs import prepare_scope
from lightvit_dense.errors import UserError, run_tool, user_errors
from lightvit_dense.visualization.browse import SPLITS, browse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=SPLITS, default='train', help='whose pipeline')
    parser.add_argument('--n', type=int, default=16, help='how many items')
    parser.add_argument('--start', type=int, help='first item (default: spread over all)')
    parser.add_argument(
        '--draws', type=int, default=1, help='draw each item so often, augmented anew'
    )
    parser.add_argument('--columns', type=int, default=4, help='pictures in a row')
    parser.add_argument('--side', type=int, default=360, help='longer side of a picture in pixels')
    parser.add_argument('--seed', type=int, default=0, help='seed of the augmentations')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of the sheet')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )
    args = parser.parse_args(argv)
    for name in ('n', 'draws', 'columns', 'side'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    cfg = apis.load_config(args.config, args.cfg_options)
    prepare_scope(cfg)
    options = {name: getattr(args, name) for name in ('start', 'draws', 'columns', 'side', 'seed')}
    with user_errors():
        sheet, indices = browse(cfg, args.split, args.n, **options)
    path = Path(args.out) / f'{Path(args.config).stem}_{args.split}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise UserError(f'--out: {path} cannot be written')
    print(f'{path}: {len(indices)} items, {sheet.shape[1]} x {sheet.shape[0]} pixels')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
