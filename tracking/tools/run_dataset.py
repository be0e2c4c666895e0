r"""Track all test sequences of a config, or others, and write result files; can be resumed.

Example:
    python -m tracking.tools.run_dataset configs/lasot/ostrack256_dmae_tiny.py CHECKPOINT.pth \
        --out results --name dmae --processes 8
    python -m tracking.tools.run_dataset configs/lasot/ostrack256_dmae_tiny.py CHECKPOINT.pth \
        --out results --data custom:my_videos
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.configs import load_config
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.errors import UserError, run_tool

from ..engine.dataset_run import DatasetRun, run_dataset
from ..evaluation.collect import SETS, describe_set
from ..runtime.results import SUBMISSIONS, write_submission
from .options import add_backend, add_data_options, add_lost, check_positive, show_progress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    text = f"sequences in place of the config's, of {', '.join(SETS)}"
    add('--data', metavar='SET:FOLDER[:SPLIT]', help=text)
    add_data_options(parser)
    add('--out', required=True, metavar='DIR', help='folder of all results')
    add('--name', help="the tracker's name, a folder below DIR (default: the config's name)")
    add('--processes', type=int, default=1, help='sequences at a time (default: 1)')
    add('--threads', type=int, help='of each process (default: 1 of several, else all)')
    text = "layout of the files (default: lasot, which is trackingnet's, too)"
    add('--format', choices=('lasot', *SUBMISSIONS), default='lasot', help=text)
    text = "pack the files as got10k's or trackingnet's server asks"
    add('--zip', action='store_true', help=text)
    add('--limit', type=int, metavar='N', help='the first N sequences only')
    add('--sequences', nargs='+', metavar='NAME', help='these sequences only')
    add_lost(parser)
    add_backend(parser)
    add_cfg_options(parser)
    args = check_positive(parser, parser.parse_args(argv), 'processes', 'threads', 'limit')
    if args.zip and args.format not in SUBMISSIONS:
        parser.error('--zip packs a submission: give --format got10k too, or trackingnet')
    if args.data_options and not args.data:
        parser.error('--data-options sets options of --data SET:FOLDER; give it too')
    return args


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and choose its sequences as the command line asks."""
    config = load_config(args.config, args.cfg_options, scope=True)
    if args.data:
        sequences = describe_set(args.data, dict(args.data_options))
        dataset = dict(type='tracking.SequenceDataset', sequences=sequences)
        config.test_dataloader = dict(dataset=dataset)
    if not (config.get('test_dataloader') or {}).get('dataset'):
        raise UserError(f'{args.config} has no test_dataloader.dataset; give --data SET:FOLDER')
    raise_if_missing(find_missing(config, 'test'), config)
    for name, value in (('limit', args.limit), ('names', args.sequences)):
        if value is not None:
            config.test_dataloader.dataset[name] = value
    return config


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if a sequence has no result."""
    args = parse_args(argv)
    folder = Path(args.out) / (args.name or Path(args.config).stem)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    layout = SUBMISSIONS.get(args.format, args.format)
    where = (folder, layout, args.backend, args.exported, device)
    more = (args.threads, args.lost_below)
    run = DatasetRun(read_config(args), args.checkpoint, *where, *more)
    try:
        with show_progress(f'{folder.name} on {args.processes} processes') as tell:
            outcomes = run_dataset(run, args.processes, lambda _, done, total: tell(done, total))
    except KeyboardInterrupt:
        print('\nStopped. The same command continues from here.', file=sys.stderr)
        return 130
    kept, frames, seconds = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ('kept', 'frames', 'seconds')
    )
    failed = [outcome for outcome in outcomes if outcome.error]
    new = len(outcomes) - kept - len(failed)
    speed = f', {frames / seconds:.1f} frames/s a process' if seconds else ''
    print(f'{new} sequences tracked, {kept} kept, {len(failed)} failed; {frames} frames{speed}')
    print(f'results: {folder}')
    for outcome in failed:
        print(f'no result: {outcome.name}: {outcome.error}', file=sys.stderr)
    if failed:
        print(f'{len(failed)} of {len(outcomes)} sequences have no result', file=sys.stderr)
        return 1
    if args.zip:
        names = [outcome.name for outcome in outcomes]
        path = folder.with_name(f'{folder.name}.zip')
        archive = write_submission(folder, names, path, args.format)
        print(f'submission: {archive}')
    return 0


if __name__ == '__main__':
    run_tool(main)
