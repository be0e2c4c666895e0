"""What the command lines share: arguments, and how far a run is."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.config import DictAction

_INTERVAL = 10.0  # seconds between the lines of progress where there is no terminal


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )


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
    if sys.stdout.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=max(done, total))
        return
    began = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _INTERVAL:
            left = (now - began) * (total - done) / max(done, 1)
            print(f'{title}: {done}/{total}, {max(left, 0):.0f} s left', flush=True)
            last = now

    yield tell
