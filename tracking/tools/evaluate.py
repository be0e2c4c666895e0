"""Judge result files of trackers: tables, plots, CSV and JSON.

Example:
    python -m tracking.tools.evaluate configs/toyworld/ostrack_dmae.py results/scratch results/dmae
    python -m tracking.tools.evaluate lasot:data/lasot results/ours --by-attribute --out report
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import track

from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import write_json
from lightvit_dense.visualization import evenly, grid, write_image

from ..evaluation.collect import SETS, common_sequences, find_trackers, open_source, read_tracker
from ..evaluation.got10k import AVERAGES
from ..evaluation.protocol import TOOLKITS, choose_protocol
from ..evaluation.reports import GOT10kReport, OPEReport, Report
from ..runtime.results import find_result, read_result
from ..visualization import film_strip
from .options import add_data_options, read_pair

GOT10K = 'got10k'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='frames/s: frames over the seconds that the tracker took for them, without first '
        "frames, reading and decoding; the got10k toolkit's, which is greater, is the mean of "
        '1/seconds of all frames, first ones included',
    )
    add = parser.add_argument
    text = f'config whose test data are sequences, or one of {", ".join(SETS)} and its folder'
    add('data', metavar='CONFIG|SET:FOLDER[:SPLIT]', help=text)
    text = "folder of a tracker's result files, one a sequence, in LaSOT's or GOT-10k's layout"
    add('results', nargs='+', metavar='[NAME=]FOLDER', help=text)
    text = "whose protocol to follow (default: the config's; got10k for its data; pytracking)"
    add('--toolkit', choices=[*TOOLKITS, GOT10K], help=text)
    text = 'change the protocol, e.g. exclude_invalid_frames=True; of got10k: average, clip'
    add('--rule', action='append', type=read_pair, default=[], metavar='NAME=VALUE', help=text)
    for kind in ('sequence', 'class', 'attribute'):
        add(f'--by-{kind}', action='store_true', help=f'show a row for each {kind}')
    text = 'leave out, for all trackers, sequences without a whole result of each'
    add('--allow-missing', action='store_true', help=text)
    add('--out', metavar='DIR', help='write plots (PNG) and tables (CSV) there')
    text = 'also draw truth and boxes on frames of so many sequences: DIR/strips.png'
    add('--strips', type=int, default=0, metavar='N', help=text)
    add('--json', metavar='FILE', help='write figures, curves and tables there')
    add_data_options(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.strips and not args.out:
        parser.error('--strips needs --out')
    return args


def choose_report(args: argparse.Namespace, metric: dict[str, Any]) -> Report:
    """Choose the protocol from the command line and the config's metric, {} if there is none."""
    options = dict(args.rule)
    kind = str(metric.get('type', '')).rpartition('.')[2]
    toolkit = args.toolkit
    if toolkit is None:
        toolkit = GOT10K if kind == 'GOT10kMetric' else metric.get('toolkit', 'pytracking')
        if kind == 'OnePassEvaluation':
            options = {**(metric.get('protocol') or {}), **options}
    if toolkit != GOT10K:
        return OPEReport(choose_protocol(toolkit, options))
    if kind == 'GOT10kMetric':
        options = {key: metric[key] for key in ('average', 'clip') if key in metric} | options
    if unknown := set(options) - {'average', 'clip'}:
        raise UserError(f'--rule {min(unknown)}: got10k has average ({", ".join(AVERAGES)}), clip')
    return GOT10kReport(**options)


def draw_strips(path: Path, source: Any, folders: Mapping[str, Path], count: int) -> None:
    """Draw film strips of some sequences, spread evenly over all, with all trackers' boxes."""
    strips = []
    for place in evenly(range(len(source)), count):
        sequence = source.sequence(place)
        files = {name: find_result(folder, sequence.name) for name, folder in folders.items()}
        boxes = {name: read_result(file) for name, file in files.items() if file}
        strips.append([film_strip(sequence, boxes)])
    write_image(path, grid(strips, background=255))
    print(f'written: {path}')


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    folders = find_trackers(args.results)
    source, metric = open_source(args.data, args.cfg_options, dict(args.data_options))
    report = choose_report(args, metric)
    truths = [report.truth(source.sequence(place)) for place in range(len(source))]
    hidden = not sys.stdout.isatty()
    listed = track(folders.items(), 'reading results', disable=hidden, transient=True)
    repetitions = isinstance(report, GOT10kReport)
    trackers = [read_tracker(*item, truths, report.protocol, repetitions) for item in listed]
    kept = common_sequences(trackers, truths, args.allow_missing)
    report.score(trackers, kept, source)

    if len(kept) < len(truths):
        print(f'{len(kept)} of {len(truths)} sequences have whole results; only they count')
    print(report.overview(f'{len(kept)} sequences, in percent'))
    for kind in ('attribute', 'class', 'sequence'):
        if not getattr(args, f'by_{kind}'):
            continue
        table = report.table(kind)
        if table is None:
            raise UserError(f'--by-{kind}: {args.data} does not tell any, or its protocol has none')
        print(table)
    if args.out:
        for path in report.write(args.out):
            print(f'written: {path}')
    if args.strips:
        draw_strips(Path(args.out, 'strips.png'), source, folders, args.strips)
    if args.json:
        content = {'data': args.data, 'sequences': len(kept), **report.content()}
        left_out = sorted({truth.name for truth in truths} - {truth.name for truth in kept})
        write_json(args.json, {**content, 'left_out': left_out})
    return 0


if __name__ == '__main__':
    run_tool(main)
