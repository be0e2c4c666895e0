"""Draw what a config's pipeline makes of its data: boxes, masks, label maps, classes, views.

Shown are the items that go to the data preprocessor, by the config's own pipeline. What happens
to whole batches later, such as mixing images, is not shown.

Example:
    python tools/analysis_tools/browse_dataset.py configs/toyworld/maskrcnn_scratch.py --n 16 \
        --out work_dirs/browse
"""

import argparse
from pathlib import Path

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import run_tool, user_errors
from lightvit_dense.visualization import write_image
from lightvit_dense.visualization.browse import SPLITS, browse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('--split', choices=SPLITS, default='train', help='whose pipeline')
    add('--n', type=int, default=16, help='how many items')
    add('--start', type=int, help='first item (default: spread over all)')
    add('--draws', type=int, default=1, help='draw each item so often, augmented anew')
    add('--columns', type=int, default=4, help='pictures in a row')
    add('--side', type=int, default=360, help='longer side of a picture in pixels')
    add('--seed', type=int, default=0, help='seed of the augmentations')
    add('--out', required=True, metavar='DIR', help='folder of the sheet')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in ('n', 'draws', 'columns', 'side'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    cfg = apis.load_config(args.config, args.cfg_options, scope=True)
    options = {name: getattr(args, name) for name in ('start', 'draws', 'columns', 'side', 'seed')}
    with user_errors(cfg):
        sheet, indices = browse(cfg, args.split, args.n, **options)
    path = Path(args.out) / f'{Path(args.config).stem}_{args.split}.png'
    write_image(path, sheet)
    print(f'{path}: {len(indices)} items, {sheet.shape[1]} x {sheet.shape[0]} pixels')


if __name__ == '__main__':
    run_tool(main)
