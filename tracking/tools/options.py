"""What the command lines share: arguments, and how far a run is."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.option_values import parse_option
from lightvit_dense.utils.progress import Display, Progress


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add how and where the network is computed."""
    text = 'how the network is computed: torch, plain or exported (default: torch)'
    parser.add_argument('--backend', default='torch', help=text)
    parser.add_argument('--exported', metavar='FILE', help='file for --backend exported')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: a GPU if there is one)")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add options of the set that ``SET:FOLDER`` names."""
    text = "options of SET, such as first_pixel=1 or lengths=shortest of one's own sequences"
    shown: Any = dict(nargs='+', type=read_pair, default=[], metavar='NAME=VALUE')
    parser.add_argument('--data-options', **shown, help=text)


def read_pair(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE`` as ``--cfg-options`` does."""
    try:
        return parse_option(text)
    except ValueError as error:
        raise UserError(str(error)) from error


def add_lost(parser: argparse.ArgumentParser) -> None:
    """Add the score below which a target counts as lost."""

    def share(text: str) -> float:
        if not 0 < float(text) <= 1:
            raise ValueError
        return float(text)

    text = 'say that the target is lost where the score, in 0..1, is below (default: never)'
    parser.add_argument('--lost-below', type=share, metavar='SCORE', help=text)


def check_positive(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str
) -> argparse.Namespace:
    """Refuse numbers below one; return the arguments."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value}: expected a positive number')
    return args


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Give what shows that so many of all steps are done: a bar, or a line now and then."""
    with Display() as display:
        display.start(1, 1, title)
        yield lambda done, total: display.update(Progress(done, max(done, total)))
