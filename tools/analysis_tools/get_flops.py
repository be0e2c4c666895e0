"""Count parameters and floating-point operations of a detector, segmentor, classifier or tracker.

Example:
    python tools/analysis_tools/get_flops.py configs/coco/maskrcnn_dmae_tiny.py --shape 640 640
"""

import argparse

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import run_tool, user_errors
from lightvit_dense.evaluation.report import describe_config
from lightvit_dense.utils.flops import Cost, count_cost
from lightvit_dense.utils.io import write_json
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', nargs='+', help='config files')
    add('--shape', type=int, nargs='+', metavar='PX', help="height and width (default: config's)")
    add('--json', metavar='FILE.json', help='write the numbers to a file')
    add('--device', default='cpu', help='where to compute')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error('--shape takes one or two positive numbers')
    if args.shape and len(args.shape) == 1:
        args.shape *= 2
    return args


def show(path: str, cost: Cost) -> None:
    """Print the table of a model."""
    rows = [(part.name, part.params, part.flops, part.note) for part in cost.parts]
    rows.append(('prediction', cost.used_params, cost.flops, ''))
    texts = [
        (name, f'{n:,}', f'{f / 1e9:.2f}', f'{f / 2e9:.2f}', note) for name, n, f, note in rows
    ]
    if cost.params != cost.used_params:
        texts.append(('training', f'{cost.params:,}', '', '', ''))
    title = f'{path}, one image of {cost.shape[0]} x {cost.shape[1]} px'
    print_table(('part', 'parameters', 'GFLOPs', 'GMACs', 'for'), texts, title, width=110)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    results = []
    for path in args.config:
        cfg = apis.load_config(path, args.cfg_options, scope=True)
        with user_errors(cfg):
            cost = count_cost(cfg, args.shape, args.device)
        show(path, cost)
        results.append({**describe_config(cfg), **cost.to_dict()})
    print('1 MAC (a multiplication and an addition) = 2 FLOPs; papers often call MACs FLOPs.')
    if args.json:
        write_json(args.json, {'models': results})


if __name__ == '__main__':
    run_tool(main)
