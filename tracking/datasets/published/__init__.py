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
