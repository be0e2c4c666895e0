"""Run a benchmark suite: initialisations times tasks, where results are missing; then the tables.

A suite file lists pre-trainings, initialisations, tasks and analyses, see docs/suite.md. What is
done is not done again; a stopped suite continues where it was; a run that fails does not stop the
others. The results go to results.json, table.md, table.csv and report.html.

Example:
    python tools/run_benchmark.py configs/suites/toyworld.py --jobs 2
    python tools/run_benchmark.py configs/suites/paper2.py --gpus 0 1 2 3 4 5 6 7 --gpus-per-job 8
    python tools/run_benchmark.py configs/suites/toyworld.py --list
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite import SuitePlan, collect, read_suite, run_suite
from lightvit_dense.suite.plan import data_root
from lightvit_dense.suite.collect import state_of
from lightvit_dense.suite.run import device_slots

ROOT = Path(__file__).resolve().parents[1]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('suite', type=Path, help='suite file')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/suites/<name>')
    parser.add_argument('--inits', nargs='+', metavar='NAME', help='default: all')
    parser.add_argument('--tasks', nargs='+', metavar='NAME', help='default: all')
    parser.add_argument('--seeds', nargs='+', type=int, metavar='N', help="default: the suite's")
    parser.add_argument('--gpus', nargs='+', default=[], metavar='ID', help='default: the CPU')
    parser.add_argument(
        '--gpus-per-job', type=int, default=1, metavar='N', help='0 gives all to one run; default 1'
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time on the CPU; default 1')
    parser.add_argument('--smoke', action='store_true', help='two iterations of every training')
    parser.add_argument('--fresh', action='store_true', help='forget what was done')
    parser.add_argument('--list', action='store_true', help='only list the runs and their state')
    parser.add_argument(
        '--report-only', action='store_true', help='only write the results of what is there'
    )
    args = parser.parse_args(argv)
    if args.jobs < 1 or args.gpus_per_job < 0:
        parser.error('--jobs must be at least 1, --gpus-per-job at least 0')
    return args


def read_config(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a config with overrides, checked as ``tools/train.py`` checks them."""
    from lightvit_dense import apis

    return apis.load_config(ROOT / path, options).to_dict()


def quiet() -> None:
    """Let mmengine report problems only: the runs have logs of their own."""
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel('WARNING')


def make_plan(args: argparse.Namespace) -> SuitePlan:
    """Read the suite and lay out its runs."""
    suite = read_suite(args.suite, ROOT, args.inits, args.tasks, args.seeds)
    name = f'{suite.name}_smoke' if args.smoke else suite.name
    work_dir = (args.work_dir or ROOT / 'work_dirs/suites' / name).resolve()
    slots = device_slots(args.gpus, args.gpus_per_job)
    gpus = len(slots[0]['CUDA_VISIBLE_DEVICES'].split(',')) if slots else 0
    return SuitePlan(suite, work_dir, ROOT, data_root(), read_config, gpus, args.smoke)


def write_results(plan: SuitePlan) -> None:
    """Write the tables and the page; print the table."""
    from lightvit_dense.suite.report import write_all
    from lightvit_dense.utils.environment import environment

    table = write_all(plan, collect(plan, environment()))
    print(f'\n{table}')
    if plan.smoke:
        print('Smoke run: everything works; the numbers mean nothing.')
    print(f'Results: {plan.work_dir}/{{results.json,table.md,table.csv,report.html}}')


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    args.suite = args.suite.resolve()
    if args.work_dir:
        args.work_dir = args.work_dir.resolve()
    os.environ['LIGHTVIT_DATA'] = str(data_root())
    os.chdir(ROOT)
    quiet()
    if not args.suite.is_file():
        known = sorted(path.name for path in (ROOT / 'configs/suites').glob('*.py'))
        raise UserError(f'suite {args.suite} does not exist; configs/suites has {", ".join(known)}')
    plan = make_plan(args)
    if args.list:
        for stage in plan.in_order():
            print(f'{state_of(stage)[0]:9} {stage.name}: {stage.title}')
        return 0
    if args.report_only:
        write_results(plan)
        return 0
    slots = device_slots(args.gpus, args.gpus_per_job)
    print(f'{len(plan.stages)} runs; they go to {plan.work_dir}', flush=True)
    tell = lambda line: print(line, flush=True)  # noqa: E731
    return run_suite(plan, lambda: write_results(plan), args.jobs, slots, args.fresh, tell)


if __name__ == '__main__':
    sys.exit(run_tool(main))
