"""Does pre-training help on small, real image sets? All of it on two cores.

For every set: a teacher by MAE, students by MAE, D-MAE and D²-MAE, from the set's images without
labels; then fine-tuning from scratch and from each of them, with the same recipe, iterations,
labels and seeds. It ends with results.md, .csv, .json and .png. A stopped study continues where it
was.

Example:
    python tools/dataset_converters/make_small_sets.py
    python tools/dataset_converters/make_toyworld.py --layouts coco imagenet
    python tools/small_study.py
    python tools/small_study.py --smoke     # a few iterations of everything, to see it work
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError, did_you_mean, run_tool
from lightvit_dense.suite.jobs import run_jobs
from lightvit_dense.suite.stages import is_done
from lightvit_dense.suite.study import INITS, SETTINGS, Scale, Setting, Study

ROOT = Path(__file__).resolve().parents[1]
SMOKE = Scale(pretrain=4, finetune=4)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ', '.join(setting.name for setting in SETTINGS)
    parser.add_argument('--work-dir', type=Path, help='results (default: work_dirs/small_study)')
    parser.add_argument(
        '--settings', nargs='+', metavar='NAME', help=f'out of {names}; default: all'
    )
    parser.add_argument(
        '--inits', nargs='+', choices=list(INITS), default=list(INITS), help='default: all'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument(
        '--jobs', type=int, default=os.cpu_count() or 1, help='runs at a time; default: all cores'
    )
    parser.add_argument('--pretrain-iters', type=int, metavar='N', help="default: the configs'")
    parser.add_argument('--finetune-iters', type=int, metavar='N', help="default: the configs'")
    parser.add_argument('--smoke', action='store_true', help='a few iterations of everything')
    parser.add_argument('--fresh', action='store_true', help='forget what was done')
    parser.add_argument('--list', action='store_true', help='only list the runs and what is done')
    args = parser.parse_args(argv)
    name = 'small_study_smoke' if args.smoke else 'small_study'
    args.work_dir = (args.work_dir or ROOT / 'work_dirs' / name).resolve()
    args.data_root = Path(os.environ.get('LIGHTVIT_DATA', ROOT / 'data')).resolve()
    return args


def choose_settings(names: list[str] | None) -> list[Setting]:
    """Return the settings by name.

    Raises:
        UserError: If there is none of a name.
    """
    known = {setting.name: setting for setting in SETTINGS}
    for name in names or ():
        if name not in known:
            raise UserError(
                f'--settings: there is no {name!r}; there are {", ".join(known)}.'
                f'{did_you_mean(name, known)}'
            )
    return [known[name] for name in names or known]


def check(args: argparse.Namespace, settings: list[Setting]) -> None:
    """Check numbers and data before anything starts.

    Raises:
        UserError: If a number is out of range or a set is missing; tells how to make it.
    """
    for option in ('jobs', 'pretrain_iters', 'finetune_iters'):
        value = getattr(args, option)
        if value is not None and value < (1 if option == 'jobs' else 2):
            raise UserError(f'--{option.replace("_", "-")} {value} is too small')
    if len(set(args.seeds)) != len(args.seeds):
        raise UserError('--seeds: a seed is named twice')
    for setting in settings:
        folder = args.data_root / setting.folder
        if not (folder / 'classes.txt').is_file():
            toyworld = setting.folder.startswith('toyworld')
            tool = (
                f'make_toyworld.py --layouts coco imagenet --out {args.data_root / "toyworld"}'
                if toyworld
                else f'make_small_sets.py --sets {folder.name} --out {folder.parent}'
            )
            raise UserError(
                f'{folder}: this set is missing. Make it by `python tools/dataset_converters/'
                f'{tool}`, or leave it out with --settings.'
            )


def read_config(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a config with overrides, checked as ``tools/train.py`` checks them."""
    from lightvit_dense import apis

    return apis.load_config(ROOT / path, options).to_dict()


def plan(args: argparse.Namespace) -> Study:
    """Lay out the study that the command line asks for."""
    settings = choose_settings(args.settings)
    check(args, settings)
    given = Scale(args.pretrain_iters, args.finetune_iters)
    return Study(
        settings,
        args.seeds,
        args.work_dir,
        args.data_root,
        read_config,
        [sys.executable, 'tools/train.py'],
        args.inits,
        SMOKE if args.smoke else given,
    )


def write_results(args: argparse.Namespace, study: Study) -> None:
    """Write table, numbers and picture; print the table."""
    from lightvit_dense.analysis import study as tables
    from lightvit_dense.utils.environment import environment
    from lightvit_dense.visualization.curves import save_png

    results = study.results() | {'smoke': args.smoke, 'environment': environment()}
    text = tables.markdown(results)
    folder = args.work_dir
    (folder / 'results.json').write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    (folder / 'results.md').write_text(text, encoding='utf-8')
    (folder / 'results.csv').write_text(tables.csv_of_runs(results), encoding='utf-8')
    save_png(tables.draw(results), folder / 'results.png', dpi=150)
    print(f'\n{text}')
    if args.smoke:
        print('Smoke run: everything works; the numbers mean nothing.')
    print(f'Results: {folder}/results.{{md,csv,json,png}}')


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    os.chdir(ROOT)
    study = plan(args)
    if args.list:
        for stage in study.stages:
            print(f'{"done" if is_done(stage) else "to do":6} {stage.name}: {stage.title}')
        return 0
    finish = lambda: write_results(args, study)  # noqa: E731
    return run_jobs(study.stages, args.work_dir, args.jobs, finish, args.fresh, ROOT)


if __name__ == '__main__':
    sys.exit(run_tool(main))
