"""Lists that the makers of data sets, or of trackers, published: which sequences are for what."""

from functools import cache
from importlib import resources


def _lines(name: str) -> list[str]:
    text = resources.files(__name__).joinpath(name).read_text(encoding='utf-8')
    return [line for line in text.splitlines() if line and not line.startswith('#')]


@cache
def lasot_test() -> tuple[str, ...]:
    """Return the names of LaSOT's 280 test sequences, four of each class."""
    rows = (line.split() for line in _lines('lasot_test.txt'))
    return tuple(f'{name}-{number}' for name, *numbers in rows for number in numbers)


@cache
def got10k_positions(split: str) -> tuple[int, ...]:
    """Return positions, from 0, in the list of GOT-10k's training part; see :class:`GOT10k`."""
    everything = set(range(9335))
    held_out = {int(word) for line in _lines('got10k_trackers_val.txt') for word in line.split()}
    excluded = {int(word) for line in _lines('got10k_vot_excluded.txt') for word in line.split()}
    chosen = {
        'train_full': everything,
        'train': everything - held_out,
        'vottrain': everything - held_out - excluded,
        'votval': held_out - excluded,
    }
    return tuple(sorted(chosen[split]))


@cache
def published_spans(title: str) -> dict[str, tuple[int, int, int]]:
    """Return first and last frame, and frames left out, in 'otb100', 'uav123' or 'nfs'."""
    rows = (line.split() for line in _lines(f'{title}.txt'))
    return {name: (int(a), int(b), int(''.join(more) or 0)) for name, a, b, *more in rows}
