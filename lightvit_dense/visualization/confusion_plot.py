"""A confusion matrix as a picture, as comma-separated values and as JSON."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.evaluation.confusion import Confusion
from lightvit_dense.evaluation.eval_report import write_report
from lightvit_dense.utils.io import atomic_write

from .curves import save_png

WRITTEN_UP_TO = 20


def draw_confusion(confusion: Confusion, normalize: bool, title: str = '') -> Any:
    """Draw a heat map that stays readable with 150 classes.

    The picture grows with the classes. Colours are shares of the rows, the truth; rows without
    any truth are grey. Cells are inscribed up to 20 classes.

    Args:
        confusion: The counts.
        normalize: Whether to inscribe shares in percent instead of counts.
        title: Above the picture.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    size = len(confusion.names)
    inscribed = size <= WRITTEN_UP_TO
    side = size * (0.62 if inscribed else 0.17)  # of the matrix, in inches
    left, right, bottom, top = 2.1, 1.3, 2.1, 0.5
    width, height = left + side + right, bottom + side + top
    shares = confusion.shares()
    # Fixed places: an automatic layout takes a minute over 150 names.
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    colors = colormaps['Blues'].with_extremes(bad='0.9')
    # The square root tells small shares from none.
    image = axes.imshow(np.ma.masked_invalid(np.sqrt(shares)), cmap=colors, vmin=0, vmax=1)
    font = 8 if inscribed else 6
    names = [name.split(',')[0][:24] for name in confusion.names]
    axes.set_xticks(range(size), names, rotation=90, fontsize=font)
    axes.set_yticks(range(size), names, fontsize=font)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which='minor', color='0.85', lw=0.4)
    axes.tick_params(which='minor', length=0)
    axes.set_xlabel('prediction')
    axes.set_ylabel('truth')
    axes.set_title(title, loc='left', fontsize=10)
    if inscribed:
        _inscribe(axes, confusion, shares, normalize)
    ticks = (0, 0.01, 0.05, 0.2, 0.5, 1)
    place = ((left + side + 0.2) / width, bottom / height, 0.2 / width, min(side, 5) / height)
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.set_ticks([tick**0.5 for tick in ticks], labels=[f'{tick:.0%}' for tick in ticks])
    bar.set_label('share of the truth')
    return figure


def _inscribe(axes: Any, confusion: Confusion, shares: np.ndarray, normalize: bool) -> None:
    """Write into every cell that is not empty."""
    for (row, column), count in np.ndenumerate(confusion.counts):
        if count:
            share = shares[row, column]
            text = f'{100 * share:.1f}' if normalize else _short(int(count))
            color = 'white' if share > 0.4 else 'black'
            axes.text(column, row, text, ha='center', va='center', fontsize=7, color=color)


def _short(count: int) -> str:
    """Write a number in at most five characters."""
    for limit, unit in ((10**9, 'G'), (10**6, 'M'), (10**4, 'k')):
        if count >= limit:
            value = count / (1000 if unit == 'k' else limit)
            return f'{value:.1f}{unit}' if value < 100 else f'{value:.0f}{unit}'
    return str(count)


def write_confusion(
    confusion: Confusion, out_dir: str | Path, normalize: bool, title: str, **source: Any
) -> list[Path]:
    """Write ``confusion.png``, ``confusion.csv`` (counts, or shares) and ``confusion.json``.

    Picture and CSV are of the classes that occur, the JSON is of all.

    Args:
        confusion: The counts.
        out_dir: Where the files go.
        normalize: Whether CSV and picture tell shares of the rows instead of counts.
        title: Above the picture.
        source: What the JSON shall say besides.

    Returns:
        The files.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    some = confusion.occurring()
    picture, table, data = (folder / f'confusion.{kind}' for kind in ('png', 'csv', 'json'))
    save_png(draw_confusion(some, normalize, title), picture, dpi=150)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(['truth \\ prediction', *some.names])
    values = some.shares() if normalize else some.counts
    for name, row in zip(some.names, values.tolist(), strict=True):
        writer.writerow([name, *('' if value != value else value for value in row)])
    atomic_write(table, buffer.getvalue().encode())
    content = dict(source, unit=confusion.unit, classes=list(confusion.names))
    content |= dict(counts=confusion.counts.tolist(), worst=confusion.worst())
    write_report(data, content)
    return [picture, table, data]
