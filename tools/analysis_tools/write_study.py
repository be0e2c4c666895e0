"""Write docs/small_scale_study.md: do the papers' findings hold in small?

Tables, verdicts, commands and pictures come from the files of results that tools/run_benchmark.py
and tools/small_study.py leave. The same files make the same page.

Example:
    python tools/run_benchmark.py configs/suites/toyworld.py --report-only
    python tools/analysis_tools/write_study.py
    python tools/analysis_tools/write_study.py work_dirs/suites/toyworld/results.json --out page.md
"""

import argparse
import shutil
import sys
from pathlib import Path

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite.findings_evidence import read_json
from lightvit_dense.suite.study_page import PICTURE, StudyPage, build_page
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.visualization.curves import save_png

ROOT = Path(__file__).resolve().parents[2]
SUITES = ('toyworld', 'distilled_layers')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = [ROOT / f'work_dirs/suites/{name}/results.json' for name in SUITES]
    study = ROOT / 'work_dirs/small_study/results.json'
    parser.add_argument(
        'suites',
        nargs='*',
        type=Path,
        default=files,
        metavar='RESULTS.json',
        help=f'results of suites; default: those of {" and ".join(SUITES)}',
    )
    parser.add_argument(
        '--small-study', type=Path, default=study, metavar='RESULTS.json', help=f'default: {study}'
    )
    parser.add_argument('--no-small-study', action='store_true', help='leave it out')
    parser.add_argument(
        '--root', type=Path, default=ROOT, help='what the paths in the results are relative to'
    )
    out = ROOT / 'docs/small_scale_study.md'
    parser.add_argument('--out', type=Path, default=out, metavar='PAGE.md', help=f'default: {out}')
    return parser.parse_args(argv)


def read_suite_results(path: Path) -> dict:
    """Read the results of a suite.

    Raises:
        UserError: If the file is missing, damaged or not a suite's.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {'suite', 'cells', 'pretrains'} <= set(content):
        raise UserError(
            f'{path}: these are not the results of a suite; name the results.json that '
            'tools/run_benchmark.py wrote'
        )
    return content


def read_study(path: Path) -> dict:
    """Read the results of the small study.

    Raises:
        UserError: If the file is missing, damaged or something else.
    """
    if not path.is_file():
        raise UserError(
            f'{path} does not exist; run tools/small_study.py, or leave it out with '
            '--no-small-study'
        )
    content = read_json(path)
    if not isinstance(content, dict) or not {'settings', 'runs'} <= set(content):
        raise UserError(f'{path}: these are not the results of tools/small_study.py')
    return content


def write_pictures(page: StudyPage, folder: Path) -> None:
    """Write the page's pictures, and remove those of an earlier page.

    Raises:
        UserError: If a picture of an analysis is gone.
    """
    from lightvit_dense.suite.study_plot import draw_table

    for name, source in page.copies.items():
        if not source.is_file():
            raise UserError(f'{source} does not exist, though {name} is to show it; run it again')
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f'{PICTURE}*.png'):
        old.unlink()
    for name, source in page.copies.items():
        shutil.copyfile(source, folder / name)
    for name, table in page.plots.items():
        save_png(draw_table(table), folder / name)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    suites = [read_suite_results(path) for path in args.suites]
    study = None if args.no_small_study else read_study(args.small_study)
    page = build_page(suites, study, args.root)
    write_pictures(page, args.out.parent / 'images')
    atomic_write(args.out, page.markdown.encode())
    print(f'{args.out}, {len(page.copies) + len(page.plots)} pictures in {args.out.parent}/images')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
