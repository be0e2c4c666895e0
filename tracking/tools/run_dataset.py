r"""Track all test sequences of a config and write a result file for each; can be resumed.

Example:
    python -m tracking.tools.run_dataset configs/lasot/ostrack256_dmae_tiny.py CHECKPOINT.pth \
        --out results --name dmae --processes 8
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.progress import Progress, make_display

from ..runtime.dataset_run import DatasetRun, Outcome, run_dataset
from ..runtime.results import LAYOUTS, write_submission


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        prog='python -m tracking.tools.run_dataset',
        description='Track all test sequences of a config; what is done already is kept',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of all results')
    parser.add_argument(
        '--name', help="the tracker's name, a folder below DIR (default: the config's name)"
    )
    parser.add_argument('--processes', type=int, default=1, help='sequences at a time (default: 1)')
    parser.add_argument(
        '--threads', type=int, help='of each process (default: 1 of several, else all)'
    )
    parser.add_argument(
        '--format', choices=LAYOUTS, default='lasot', help='layout of the files (default: lasot)'
    )
    parser.add_argument('--zip', action='store_true', help="pack got10k's files as its server asks")
    parser.add_argument('--limit', type=int, metavar='N', help='the first N sequences only')
    parser.add_argument('--sequences', nargs='+', metavar='NAME', help='these sequences only')
    parser.add_argument('--backend', default='torch', help='how the network is computed')
    parser.add_argument('--exported', metavar='DIR', help='exported files for the backend')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: a GPU if there is one)")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )
    args = parser.parse_args(argv)
    for name in ('processes', 'threads', 'limit'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value}: expected a positive number')
    if args.zip and args.format != 'got10k':
        parser.error('--zip packs a submission to GOT-10k; give --format got10k too')
    return args


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and choose its sequences as the command line asks.

    Args:
        args: The command line.

    Raises:
        UserError: If it cannot be read, tests nothing, or its data are missing.
    """
    config = load_config(args.config, args.cfg_options)
    prepare_scope(config)
    if not (config.get('test_dataloader') or {}).get('dataset'):
        raise UserError(f'{args.config} has no test_dataloader.dataset: there is nothing to track')
    raise_if_missing(find_missing(config, 'test'), config)
    for name, value in (('limit', args.limit), ('names', args.sequences)):
        if value is not None:
            config.test_dataloader.dataset[name] = value
    return config


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if a sequence has no result.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    args = parse_args(argv)
    folder = Path(args.out) / (args.name or Path(args.config).stem)
    run = DatasetRun(
        read_config(args),
        args.checkpoint,
        folder,
        args.format,
        args.backend,
        args.exported,
        args.device or ('cuda' if _has_gpu() else 'cpu'),
        args.threads,
    )
    display = make_display()
    display.start(1, 1, f'{folder.name} on {args.processes} processes')

    def tell(outcome: Outcome, done: int, total: int) -> None:
        display.update(Progress(min(done, total), max(total, 1), '', outcome.name))

    try:
        outcomes = run_dataset(run, args.processes, tell)
        display.finish(summary(outcomes))
    except KeyboardInterrupt:
        print('\nStopped. The same command continues from here.', file=sys.stderr)
        return 130
    finally:
        display.close()
    print(f'results: {folder}')
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        print(f'no result: {outcome.name}: {outcome.error}', file=sys.stderr)
    if failed:
        print(f'{len(failed)} of {len(outcomes)} sequences have no result', file=sys.stderr)
        return 1
    if args.zip:
        names = [outcome.name for outcome in outcomes]
        print(
            f'submission: {write_submission(folder, names, folder.with_name(f"{folder.name}.zip"))}'
        )
    return 0


def summary(outcomes: list[Outcome]) -> str:
    """Return a line about all sequences.

    Args:
        outcomes: What became of them.
    """
    kept = sum(outcome.kept for outcome in outcomes)
    failed = sum(bool(outcome.error) for outcome in outcomes)
    frames = sum(outcome.frames for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    speed = f', {frames / seconds:.1f} frames/s a process' if seconds else ''
    new = len(outcomes) - kept - failed
    return f'{new} sequences tracked, {kept} kept, {failed} failed; {frames} frames{speed}'


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == '__main__':
    sys.exit(run_tool(main))
