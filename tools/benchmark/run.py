"""Run one benchmark: time, memory and arithmetic of ours beside its rivals.

Example:
    python tools/benchmark/run.py --help
    python tools/benchmark/run.py dense_step --help
    python tools/benchmark/run.py pretrain_step --methods mae --batch 32 --json step.json
"""

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from lightvit_dense.errors import run_tool
from lightvit_dense.utils.io import atomic_write

HERE = Path(__file__).resolve().parent


def load(name: str) -> Any:
    """Import a module of this folder, also when this file was started as a script."""
    root = str(HERE.parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    return import_module(f'tools.benchmark.{name}')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``args.module`` is the case's module, the only one imported."""
    words = list(sys.argv[1:] if argv is None else argv)
    raw: dict[str, Any] = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(description=__doc__, **raw)
    choices = parser.add_subparsers(dest='case', metavar='CASE', required=True)
    module = None
    for file in sorted((HERE / 'cases').glob('*.py')):
        text = str(ast.get_docstring(ast.parse(file.read_text('utf-8'))))
        one = choices.add_parser(file.stem, help=text.splitlines()[0], description=text, **raw)
        if file.stem in words[:1]:
            module = load(f'cases.{file.stem}')
            one.epilog = getattr(module, 'EPILOG', None)
            load('harness').add_options(one, module.OPTIONS)
        one.add_argument('--cores', nargs='+', type=int, help='run on these cores only')
        one.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
        one.add_argument('--markdown', metavar='FILE', help='also write the tables to FILE')
        one.add_argument('--worker', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    args.words, args.module = words, module
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    case, harness = args.module, load('harness')
    harness.check_options(args)
    getattr(case, 'check', lambda args: None)(args)
    if args.cores:
        harness.pin(args.cores)
    task = json.loads(args.worker[0]) if args.worker else {}
    threads = task.get('threads') or getattr(args, 'threads', None)
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    if args.worker:
        atomic_write(args.worker[1], json.dumps(case.work(args, task)).encode())
        return 0
    machine = harness.describe(args)
    if machine['device'] == 'cpu' and machine['load_at_start'] > 0.5 * machine['cores']:
        text = f'load {machine["load_at_start"]} on {machine["cores"]} cores'
        harness.progress(f'warning: {text}: timings will be off')
    report = case.measure(args)
    harness.publish(report, machine, args)
    return report.status


if __name__ == '__main__':
    sys.exit(run_tool(main))
