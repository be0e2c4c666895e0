r"""Run a suite: data, pre-trainings, initialisations times tasks, analyses; then tables and a page.

A suite file lists them, see docs/suite.md. What is done is not done again; a stopped suite
continues where it was; a run that fails does not stop the others. The results go to results.json,
table.md, table.csv and report.html.

Example:
    python tools/run_benchmark.py configs/suites/demo.py --jobs 2
    python tools/run_benchmark.py configs/suites/paper2.py --gpus 0 1 2 3 4 5 6 7 --gpus-per-job 8
    python tools/run_benchmark.py configs/suites/paper2.py --executor slurm --partition gpu \
        --gpus-per-job 8 --cpus-per-task 8 --timeout-min 1440
    python tools/run_benchmark.py configs/suites/reserved_blocks.py --cfg-options \
        inits.mine.checkpoint=work_dirs/mine/backbone.safetensors sweep.values=0,3,6
"""

import argparse
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from lightvit_dense.errors import run_tool
from lightvit_dense.suite.collect import collect, state_of
from lightvit_dense.suite.executors import LocalExecutor, SlurmExecutor, SlurmOptions, device_slots
from lightvit_dense.suite.plan import SuitePlan, data_root, try_weights
from lightvit_dense.suite.runner import Executor, run_suite, status_line
from lightvit_dense.suite.spec import read_suite
from lightvit_dense.utils.home import find_file, project_dir
from lightvit_dense.utils.option_values import OptionsAction

ROOT = project_dir()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('suite', type=Path, help="suite file, or the name of one of ours, such as 'demo'")
    add('--work-dir', type=Path, help='default: work_dirs/suites/<name>')
    add('--data-root', type=Path, help='default: $LIGHTVIT_DATA, or data')
    add('--inits', nargs='+', metavar='NAME', help='default: all')
    add('--tasks', nargs='+', metavar='NAME', help='default: all')
    add('--seeds', nargs='+', type=int, metavar='N', help="default: the suite's")
    add(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='values of the suite file, such as inits.mae.checkpoint=FILE or, for all of a kind, '
        'tasks.*.options.train_dataloader.dataset.fraction=0.1',
    )
    add('--smoke', action='store_true', help='two iterations of every training')
    add('--fresh', action='store_true', help='forget what was done')
    add('--list', action='store_true', help='only list the runs and their state')
    add('--report-only', action='store_true', help='only write the results of what is there')
    add('--executor', choices=('local', 'slurm'), default='local', help='default: local')
    add('--jobs', type=int, default=1, help='runs at a time on the CPU; default 1')
    add('--gpus', nargs='+', default=[], metavar='ID', help='of this machine; default: the CPU')
    add('--gpus-per-job', type=int, metavar='N', help='here default 1, 0 for all; Slurm: default 0')
    add('--timeout-min', type=int, metavar='N', help='a run is stopped then, and goes on')
    slurm = parser.add_argument_group('Slurm')
    add = slurm.add_argument
    add('--partition', metavar='NAME', help="default: Slurm's")
    add('--nodes', type=int, default=1, metavar='N', help='of a run; they share out its GPUs')
    add('--cpus-per-task', type=int, metavar='N', help='cores of a process')
    add('--array-parallelism', type=int, default=0, metavar='N', help='N runs of a kind at a time')
    add('--slurm-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE', help='for sbatch')
    args = parser.parse_args(argv)
    if args.gpus_per_job is None:
        args.gpus_per_job = int(args.executor == 'local')
    if args.jobs < 1 or args.nodes < 1 or args.gpus_per_job < 0:
        parser.error('--jobs and --nodes must be at least 1, --gpus-per-job at least 0')
    if args.executor == 'slurm' and args.gpus:
        parser.error('--gpus names those of this machine; ask Slurm by --gpus-per-job')
    if args.executor == 'slurm' and args.gpus_per_job % args.nodes:
        parser.error('--nodes: the GPUs of a run cannot be shared out evenly')
    return args


def read_config(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a config with overrides, checked as ``tools/train.py`` checks them."""
    from lightvit_dense import apis

    return apis.load_config(find_file(path, ROOT), options).to_dict()


def make_plan(args: argparse.Namespace) -> SuitePlan:
    """Read the suite and lay out its runs."""
    suite = read_suite(args.suite, ROOT, args.inits, args.tasks, args.seeds, args.cfg_options)
    name = f'{suite.name}_smoke' if args.smoke else suite.name
    work_dir = (args.work_dir or ROOT / 'work_dirs/suites' / name).resolve()
    if args.data_root is None and args.smoke and any(p.smoke for p in suite.prepare.values()):
        args.data_root = work_dir / 'data'  # little data must not take the place of the real
    data = args.data_root or data_root()
    os.environ['LIGHTVIT_DATA'] = str(data)  # configs read it
    gpus, launcher = args.gpus_per_job, 'slurm'
    if args.executor == 'local':
        slots, launcher = device_slots(args.gpus, gpus), 'pytorch'
        gpus = len(slots[0]['CUDA_VISIBLE_DEVICES'].split(',')) if slots else 0
    return SuitePlan(suite, work_dir, ROOT, data, read_config, gpus, args.smoke, launcher)


def make_executor(args: argparse.Namespace, plan: SuitePlan, env: Mapping[str, str]) -> Executor:
    """Return what runs the plan."""
    folder = plan.work_dir / 'submitit'
    if args.executor == 'local':
        slots = device_slots(args.gpus, args.gpus_per_job)
        return LocalExecutor(folder, args.jobs, slots, env, ROOT, timeout_min=args.timeout_min)
    asked = (args.partition, args.nodes, plan.gpus, args.cpus_per_task, args.timeout_min or 60 * 24)
    options = SlurmOptions(*asked, args.array_parallelism, args.slurm_options or {})
    return SlurmExecutor(folder, options, env, ROOT)


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
    if args.suite.is_file():
        args.suite = args.suite.resolve()
    args.work_dir = args.work_dir and args.work_dir.resolve()
    args.data_root = args.data_root and args.data_root.resolve()
    os.environ.setdefault('LIGHTVIT_DATA', str(ROOT / 'data'))
    os.environ['LIGHTVIT_DATA'] = str(data_root())  # whole, because the folder changes now
    os.chdir(ROOT)
    MMLogger.get_current_instance().setLevel('WARNING')  # the runs have logs of their own
    plan = make_plan(args)
    if args.list:
        for stage in plan.in_order():
            print(f'{state_of(stage)[0]:9} {stage.name}: {stage.title}')
        return 0
    if args.report_only:
        write_results(plan)
        return 0
    try_weights(plan)
    print(f'{len(plan.stages)} runs; they go to {plan.work_dir}', flush=True)
    on_progress, show = status_line()
    executor = functools.partial(make_executor, args, plan)
    return run_suite(plan, lambda: write_results(plan), executor, args.fresh, on_progress, show)


if __name__ == '__main__':
    run_tool(main)
