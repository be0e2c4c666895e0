"""Look at one's own data and write a config that trains on it; docs/your_data.md walks through it.

Example:
    python tools/new_config.py detection --data my_coco/ --init dmae_vit-tiny --out my_detector.py
"""

import argparse
from pathlib import Path

import tracking.datasets  # noqa: F401  adds its data sets
from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.newdata.tasks import TASKS
from lightvit_dense.newdata.write import write_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('task', metavar='TASK', choices=TASKS, help=', '.join(TASKS))
    add('--data', required=True, type=Path, metavar='PATH', help='folder, COCO or CSV file')
    add('--val', type=Path, metavar='PATH', help='that of the validation part')
    add('--out', required=True, type=Path, metavar='FILE.py', help='config to write')
    text = "weights to start from: a name or file, as lightvit_dense.load takes it, or 'scratch'"
    add('--init', default='scratch', metavar='NAME', help=f'{text} (default)')
    text = 'pre-training: the network whose attention is followed (D-MAE); without it, MAE'
    add('--teacher', metavar='NAME', help=text)
    add('--size', type=int, metavar='PX', help='side of the images')
    add('--batch-size', type=int, metavar='N', help='images a step')
    add('--epochs', type=int, metavar='N', help='passes over the training images')
    text = 'share of the images that validate, where one part is given (default: 0.2)'
    add('--val-fraction', type=float, default=0.2, metavar='F', help=text)
    add('--seed', type=int, default=0, help='of the split (default: 0)')
    args = parser.parse_args(argv)
    if args.out.suffix != '.py':
        parser.error(f'--out {args.out}: a config ends in .py')
    return args


def main() -> None:
    """Run the tool."""
    args = parse_args()
    for name in ('data', 'val', 'out'):
        path = getattr(args, name)
        setattr(args, name, path and path.expanduser().resolve())
    args.folder = args.out.with_name(f'{args.out.stem}_data')  # of lists and annotations
    if args.teacher and args.task != 'pretraining':
        raise UserError('--teacher is for pre-training')
    write_config(args)


if __name__ == '__main__':
    run_tool(main)
