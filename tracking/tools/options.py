"""What the command lines share: arguments, and how far a run is."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightvit_dense.utils.progress import Display, Progress


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add how and where the network is computed."""
    parser.add_argument('--backend', default='torch', help='how the network is computed')
    parser.add_argument('--exported', metavar='DIR', help='exported files for the backend')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: a GPU if there is one)")


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
    display = Display()
    display.start(1, 1, title)
    try:
        yield lambda done, total: display.update(Progress(done, max(done, total)))
    finally:
        display.close()
