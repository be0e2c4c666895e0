"""Tables of what :mod:`.dense_step` has measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from .dense_models import VARIANTS
from .dense_step import PASSES

_TITLES = {'forward': 'Forward pass', 'step': 'Training step'}
_HEAD = (
    'variant',
    's (IQR)',
    'fastest s',
    'we are faster by',
    'of the matmul rate',
    'grown MiB',
    'ours of it',
    'peak MiB',
    'ours of it',
    'output off by',
    'gradient off by',
)


def _line(words: Sequence[str]) -> str:
    return f'| {" | ".join(words)} |'


def _cells(row: Mapping[str, Any], what: str, first: bool) -> list[str]:
    cell = row[what]
    words = [
        VARIANTS[row['variant']],
        f'{cell["seconds"]:.3f} ({cell["spread"]:.3f})',
        f'{cell["fastest"]:.3f}',
        '' if first else f'{cell["times_ours"]:.2f}x',
        f'{cell["share"]:.0%}',
    ]
    for taken, share in (('grown_mb', 'memory_of_theirs'), ('peak_mb', 'peak_of_theirs')):
        words.append(f'{cell[taken]:.0f}' if taken in cell else '')
        words.append(f'{cell[share]:.2f}x' if share in cell and not first else '')
    words += ['' if first else f'{row[key]:.0e}' for key in ('output_error', 'gradient_error')]
    return words


def dense_markdown(rows: Sequence[Mapping[str, Any]], where: str) -> str:
    """Write Markdown: one table for each image size and pass.

    Args:
        rows: From :func:`~.dense_step.summarise`, ours first at each size.
        where: What was measured on, in words.
    """
    lines = [f'*measured* on {where}.']
    for image in dict.fromkeys(row['image'] for row in rows):
        some = [row for row in rows if row['image'] == image]
        for what in PASSES:
            gflop, count = some[0][what]['gflop'], some[0]['batch']
            images = f'batch {count}, at least {gflop:.1f} GFLOP'
            lines += ['', f'**{_TITLES[what]}, {image} px** ({images})', '', _line(_HEAD)]
            lines.append(_line(['---'] + ['---:'] * (len(_HEAD) - 1)))
            for number, row in enumerate(some):
                lines.append(_line(_cells(row, what, first=number == 0)))
    lines += [
        '',
        'All have the same weights; errors are relative to the largest value. The least '
        'arithmetic is that of products and convolutions with attention written out once; its '
        'share is of the rate of a large matrix product in the same run. "Grown" is the peak '
        'without what libraries, weights and images take.',
    ]
    return '\n'.join(lines) + '\n'
