"""A confusion matrix as a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST_INSCRIBED = 20


def draw_confusion(
    counts: np.ndarray, names: Sequence[str], normalize: bool = False, title: str = ''
) -> Any:
    """Draw counts int64 [N, N], truth by prediction, as a heat map that fits 150 classes.

    Colours are ratios of the rows; rows without any truth are grey. Cells are inscribed up to 20
    classes, with percent of the row if ``normalize``.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    size = len(names)
    inscribed = size <= _MOST_INSCRIBED
    side = size * (0.62 if inscribed else 0.17)  # of the matrix, in inches
    left, right, bottom, top = 2.1, 1.3, 2.1, 0.5
    width, height = left + side + right, bottom + side + top
    with np.errstate(invalid='ignore'):
        ratios = counts / counts.sum(1, keepdims=True)
    # Fixed places: an automatic layout takes a minute over 150 names.
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    colors = colormaps['Blues'].with_extremes(bad='0.9')
    # The square root makes small ratios visible.
    image = axes.imshow(np.ma.masked_invalid(np.sqrt(ratios)), cmap=colors, vmin=0, vmax=1)
    font = 8 if inscribed else 6
    labels = [name.split(',')[0][:24] for name in names]
    axes.set_xticks(range(size), labels, rotation=90, fontsize=font)
    axes.set_yticks(range(size), labels, fontsize=font)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which='minor', color='0.85', lw=0.4)
    axes.tick_params(which='minor', length=0)
    axes.set_xlabel('prediction')
    axes.set_ylabel('truth')
    axes.set_title(title, loc='left', fontsize=10)
    for (row, column), count in np.ndenumerate(counts if inscribed else np.zeros((0, 0))):
        if count:
            ratio = ratios[row, column]
            text = f'{100 * ratio:.1f}' if normalize else _shorten(int(count))
            color = 'white' if ratio > 0.4 else 'black'
            axes.text(column, row, text, ha='center', va='center', fontsize=7, color=color)
    ticks = (0, 0.01, 0.05, 0.2, 0.5, 1)
    place = ((left + side + 0.2) / width, bottom / height, 0.2 / width, min(side, 5) / height)
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.set_ticks([tick**0.5 for tick in ticks], labels=[f'{tick:.0%}' for tick in ticks])
    bar.set_label('ratio of the truth')
    return figure


def _shorten(count: int) -> str:
    """Write a number in at most five characters."""
    for limit, unit, symbol in ((10**9, 10**9, 'G'), (10**6, 10**6, 'M'), (10**4, 1000, 'k')):
        if count >= limit:
            value = count / unit
            return f'{value:.1f}{symbol}' if value < 100 else f'{value:.0f}{symbol}'
    return str(count)
