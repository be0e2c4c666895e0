"""Options that several command lines share."""

import argparse

from lightvit_dense.apis.tta import SCALES
from lightvit_dense.errors import UserError
from lightvit_dense.utils.option_values import OptionsAction


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a tool's docstring as it stands."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=doc, formatter_class=raw)


def add_cfg_options(
    parser: argparse.ArgumentParser, text: str = 'override config values, e.g. model.x.y=3'
) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE', help=text
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run: ``--preflight``, ``--cfg-options``, ``--launcher``."""
    parser.add_argument('--preflight', action='store_true', help='only check data and checkpoints')
    add_cfg_options(parser)
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    parser.add_argument('--launcher', choices=launchers, default='none', help='job launcher')
    # Given by torch.distributed.launch, which sets LOCAL_RANK as torchrun does.
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)


def add_tta_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--tta``, ``--tta-scales`` and ``--no-flip``."""
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation: several sizes, and flipped'
    )
    text = f'--tta: factors of the test size (default: {" ".join(map(str, SCALES))})'
    parser.add_argument('--tta-scales', nargs='+', type=float, metavar='S', help=text)
    parser.add_argument('--no-flip', action='store_true', help='--tta: do not flip')


def tta_of(args: argparse.Namespace) -> tuple[list[float] | None, bool | None] | None:
    """Return scales and flip as :func:`~lightvit_dense.apis.apply_tta` takes them, if asked for."""
    if not args.tta:
        if args.tta_scales or args.no_flip:
            raise UserError('--tta-scales and --no-flip are options of --tta; give it too')
        return None
    return args.tta_scales, False if args.no_flip else None
