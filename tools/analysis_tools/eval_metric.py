"""Evaluate predictions that `tools/test.py --out` has dumped, without the model.

Example:
    python tools/analysis_tools/eval_metric.py configs/toyworld/maskrcnn_dmae.py predictions.pkl
"""

import argparse

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import run_tool
from lightvit_dense.evaluation import read_predictions
from lightvit_dense.evaluation.predictions import evaluate_predictions
from lightvit_dense.evaluation.report import evaluation_report
from lightvit_dense.utils.io import write_json
from lightvit_dense.utils.tables import format_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('predictions', help='what `tools/test.py --out FILE.pkl` wrote')
    add('--json', metavar='FILE.json', help='write figures and tables to a file')
    add('--classes', action='store_true', help='print the tables of the classes')
    add('--verify', action='store_true', help='compare with `expected`; status 1 when one is off')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    cfg = apis.load_config(args.config, args.cfg_options, scope=True)
    expected = apis.read_expected(cfg) if args.verify else []
    predictions = read_predictions(args.predictions)
    metrics, tables = evaluate_predictions(cfg, predictions)
    for name, value in metrics.items():
        print(f'{name:<24} {value:.4f}')
    if args.classes:
        for name, rows in tables.items():
            print(f'\n{name}\n{format_table(rows, list(rows[0]), digits=3)}')
    if args.json:
        options = dict(predictions=args.predictions, cfg_options=args.cfg_options or {})
        write_json(args.json, evaluation_report(cfg, metrics, tables, **options))
    return apis.verify(metrics, expected) if args.verify else 0


if __name__ == '__main__':
    run_tool(main)
