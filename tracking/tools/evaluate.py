"""Judge result files of trackers: tables, plots, CSV and JSON.

Example:
    python -m tracking.tools.evaluate configs/toyworld/ostrack_dmae.py results/scratch results/dmae
    python -m tracking.tools.evaluate lasot:data/lasot results/ours --by-attribute --out report
"""

import argparse
import ast
import sys
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import write_json
from tracking.evaluation.collect import (
    TrackerResults,
    common_sequences,
    find_trackers,
    read_tracker,
)
from tracking.evaluation.got10k import AVERAGES
from tracking.evaluation.reports import GOT10kReport, OPEReport, Report
from tracking.evaluation.rules import TOOLKITS, Rules, choose_rules
from tracking.evaluation.sources import SETS, open_source
from tracking.evaluation.truth import Truth

GOT10K = 'got10k'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='frames/s: frames over the seconds that the tracker took for them, without first '
        "frames, reading and decoding; the got10k toolkit's, which is greater, is the mean of "
        '1/seconds of all frames, first ones included',
    )
    parser.add_argument(
        'data',
        metavar='CONFIG|SET:FOLDER[:SPLIT]',
        help=f'config whose test data are sequences, or one of {", ".join(SETS)} and its folder',
    )
    parser.add_argument(
        'results',
        nargs='+',
        metavar='[NAME=]FOLDER',
        help="folder of a tracker's result files, one a sequence, in LaSOT's or GOT-10k's layout",
    )
    parser.add_argument(
        '--toolkit',
        choices=[*TOOLKITS, GOT10K],
        help="whose habits to follow (default: the config's; got10k for its data; pytracking)",
    )
    parser.add_argument(
        '--rule',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='change a habit, e.g. exclude_invalid_frames=True; of got10k: average, clip',
    )
    parser.add_argument('--by-sequence', action='store_true', help='show a row a sequence')
    parser.add_argument('--by-class', action='store_true', help='show a row a class')
    parser.add_argument('--by-attribute', action='store_true', help='show a row an attribute')
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='leave out, for all trackers, sequences without a whole result of each',
    )
    parser.add_argument('--out', metavar='DIR', help='write plots (PNG) and tables (CSV) there')
    parser.add_argument('--json', metavar='FILE', help='write figures, curves and tables there')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )
    return parser.parse_args(argv)


def read_rules(given: list[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE``; a value that is no Python literal is text.

    Raises:
        UserError: If a name or a value is missing.
    """
    found = {}
    for text in given:
        name, told, value = text.partition('=')
        if not told or not name or not value:
            raise UserError(f'--rule {text}: write NAME=VALUE')
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def choose_report(args: argparse.Namespace, metric: dict[str, Any]) -> Report:
    """Choose protocol and habits from the command line and the config's metric.

    Args:
        args: The command line.
        metric: Config of the metric; {} if there is none.
    """
    options: dict[str, Any] = read_rules(args.rule)
    kind = str(metric.get('type', '')).rpartition('.')[2]
    toolkit = args.toolkit
    if toolkit is None:
        toolkit = GOT10K if kind == 'GOT10kMetric' else metric.get('toolkit', 'pytracking')
        if kind == 'OnePassEvaluation':
            options = {**(metric.get('rules') or {}), **options}
    if toolkit != GOT10K:
        return OPEReport(choose_rules(toolkit, options))
    if kind == 'GOT10kMetric':
        told: dict[str, Any] = {key: metric[key] for key in ('average', 'clip') if key in metric}
        options = told | options
    if unknown := set(options) - {'average', 'clip'}:
        raise UserError(f'--rule {min(unknown)}: got10k has average ({", ".join(AVERAGES)}), clip')
    return GOT10kReport(**options)


def read_all(
    folders: dict[str, Path], truths: list[Truth], rules: Rules, repetitions: bool
) -> list[TrackerResults]:
    """Read the results of all trackers, with progress on a terminal."""
    from rich.progress import track

    shown = track(
        folders.items(), 'reading results', disable=not sys.stdout.isatty(), transient=True
    )
    return [read_tracker(name, folder, truths, rules, repetitions) for name, folder in shown]


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    from rich.console import Console

    args = parse_args(argv)
    folders = find_trackers(args.results)
    source, metric = open_source(args.data, args.cfg_options)
    report = choose_report(args, metric)
    truths = [report.truth(source.sequence(place)) for place in range(len(source))]
    trackers = read_all(folders, truths, report.rules, isinstance(report, GOT10kReport))
    kept = common_sequences(trackers, truths, args.allow_missing)
    report.score(trackers, kept, source)

    # Names may have brackets.
    width = None if sys.stdout.isatty() else 160
    console = Console(width=width, markup=False, highlight=False)
    if len(kept) < len(truths):
        console.print(f'{len(kept)} of {len(truths)} sequences have whole results; only they count')
    console.print(report.overview(f'{len(kept)} sequences, in percent'))
    for wanted, kind in (
        (args.by_attribute, 'attribute'),
        (args.by_class, 'class'),
        (args.by_sequence, 'sequence'),
    ):
        if not wanted:
            continue
        table = report.table(kind)
        if table is None:
            raise UserError(f'--by-{kind}: {args.data} does not tell any, or its protocol has none')
        console.print(table)
    if args.out:
        for path in report.write(args.out):
            console.print(f'written: {path}', soft_wrap=True)
    if args.json:
        content = {'data': args.data, 'sequences': len(kept), **report.content()}
        left_out = sorted({truth.name for truth in truths} - {truth.name for truth in kept})
        write_json(args.json, {**content, 'left_out': left_out})
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
