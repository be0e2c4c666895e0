"""Evaluate a checkpoint by the test part of a config.

Example:
    python tools/test.py configs/toyworld/maskrcnn_dmae.py CHECKPOINT.pth --verify
"""

import argparse

from mmengine.dist import is_main_process

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_run_options, add_tta_options, tta_of
from lightvit_dense.compat import finish_distributed
from lightvit_dense.errors import run_tool
from lightvit_dense.evaluation.report import evaluation_report
from lightvit_dense.utils.io import write_json


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Test (and evaluate) a model')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--work-dir', help='logs and metrics (default: work_dirs/<config name>)')
    add('--out', metavar='FILE.pkl', help='dump the predictions to a pickle file')
    add('--json', metavar='FILE.json', help='write metrics, class tables, and their origin')
    text = "run these of the config's `extra_tests` too; 'all' for all of them"
    add('--extra', nargs='+', default=[], metavar='NAME', help=text)
    add('--show-dir', metavar='DIR', help='draw truth and prediction side by side into DIR')
    add('--show-max', type=int, metavar='N', help='draw at most N images')
    add_tta_options(parser)
    text = 'compare the metrics with `expected` in the config; exit status 1 when one is off'
    add('--verify', action='store_true', help=text)
    add_run_options(parser)
    return parser.parse_args(argv)


def main() -> int:
    """Run the tool; returns its exit status."""
    args = parse_args()
    if args.preflight:
        print(apis.check_testing(args.config, args.checkpoint, args.cfg_options, args.extra))
        return 0
    config = apis.load_config(args.config, args.cfg_options)
    expected = apis.read_expected(config) if args.verify else []
    tta = tta_of(args)
    if tta is not None:
        apis.apply_tta(config, *tta)
    found = apis.evaluate(
        config,
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        show_max=args.show_max,
        launcher=args.launcher,
        extra=args.extra,
    )
    if args.json and is_main_process():
        options = dict(cfg_options=args.cfg_options or {}, extra=args.extra)
        content = evaluation_report(
            config, found.metrics, found.class_tables, checkpoint=args.checkpoint, **options
        )
        write_json(args.json, content)
    status = apis.verify(found.metrics, expected) if args.verify else 0
    finish_distributed()
    return status


if __name__ == '__main__':
    run_tool(main)
