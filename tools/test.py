"""Evaluate a checkpoint by the test part of a config.

Example:
    python tools/test.py configs/toyworld/maskrcnn_dmae.py CHECKPOINT.pth --verify
"""

import argparse
import json
import os
import sys
from pathlib import Path

from mmengine.config import DictAction
from mmengine.dist import is_main_process

from lightvit_dense import apis
from lightvit_dense.errors import run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description='Test (and evaluate) a model')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='logs and metrics (default: work_dirs/<config name>)')
    parser.add_argument('--out', metavar='FILE.pkl', help='dump the predictions to a pickle file')
    parser.add_argument('--json', metavar='FILE.json', help='write the metrics to a JSON file')
    parser.add_argument(
        '--extra',
        nargs='+',
        default=[],
        metavar='NAME',
        help="run these of the config's `extra_tests` too; 'all' for all of them",
    )
    parser.add_argument('--show-dir', help='directory where painted predictions are saved')
    parser.add_argument(
        '--preflight',
        action='store_true',
        help='only check that data and checkpoint exist',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='compare the metrics with `expected` in the config; exit status 1 when one is off',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def write_metrics(args: argparse.Namespace, metrics: dict[str, float]) -> None:
    """Write the metrics beside what they belong to.

    Args:
        args: The command line.
        metrics: Metrics by name.
    """
    content = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        cfg_options=args.cfg_options or {},
        metrics={
            k: v if isinstance(v, (int, float, str)) else float(v) for k, v in metrics.items()
        },
    )
    path = Path(args.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=float) + '\n', encoding='utf-8')


def main() -> int:
    """Run the tool; returns its exit status."""
    args = parse_args()
    if args.preflight:
        print(apis.check_testing(args.config, args.checkpoint, args.cfg_options, args.extra))
        return 0
    config = apis.load_config(args.config, args.cfg_options)
    expected = apis.read_expected(config) if args.verify else []
    metrics = apis.test(
        config,
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        launcher=args.launcher,
        extra=args.extra,
    )
    if args.json and is_main_process():
        write_metrics(args, metrics)
    return apis.verify(metrics, expected) if args.verify else 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
