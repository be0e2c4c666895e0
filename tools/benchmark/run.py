"""Run one benchmark: time, memory and arithmetic of ours beside its rivals.

Example:
    python tools/benchmark/run.py pretrain_step --help
    python tools/benchmark/run.py pretrain_step --methods mae --batch 32 --json step.json
"""

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
if not __package__:  # started as a script
    sys.path.insert(0, str(HERE.parents[1]))

from lightvit_dense.errors import run_tool  # noqa: E402
from lightvit_dense.utils.io import atomic_write  # noqa: E402
from tools.benchmark import harness  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``args.module`` is the case's module, the only one imported."""
    words, module = list(sys.argv[1:] if argv is None else argv), None
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    choices = parser.add_subparsers(dest='case', metavar='CASE', required=True)
    for file in sorted((HERE / 'cases').glob('*.py')):
        text = str(ast.get_docstring(ast.parse(file.read_text('utf-8'))))
        options = dict(help=text.splitlines()[0], description=text, formatter_class=raw)
        one = choices.add_parser(file.stem, **options)
        if file.stem in words[:1]:
            module = import_module(f'tools.benchmark.cases.{file.stem}')
            harness.add_options(one, module.OPTIONS)
        one.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
        one.add_argument('--worker', nargs=2, help=argparse.SUPPRESS)
    return argparse.Namespace(**vars(parser.parse_args(words)), words=words, module=module)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    harness.check_options(args)
    getattr(args.module, 'check', lambda args: None)(args)
    task = json.loads(args.worker[0]) if args.worker else {}
    threads = task.get('threads') or getattr(args, 'threads', None)
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    if args.worker:
        atomic_write(args.worker[1], json.dumps(args.module.work(args, task)).encode())
        return 0
    machine = harness.describe(args)
    if machine['device'] == 'cpu' and machine['load_at_start'] > 0.5 * machine['cores']:
        print(f'warning: load {machine["load_at_start"]}: timings will be off', file=sys.stderr)
    report = args.module.measure(args)
    harness.publish(report, machine, args)
    return report.status


if __name__ == '__main__':
    run_tool(main)
