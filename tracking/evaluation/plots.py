"""Success and precision plots of several trackers together."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.visualization import PALETTE
from lightvit_dense.visualization.curves import save_png

from .got10k import THRESHOLDS, Overlaps
from .ope import CENTRE_THRESHOLDS, NORM_THRESHOLDS, Scores, overlap_thresholds
from .tables import attribute_table

_STYLES = ('-', '--', '-.', ':')


def curve_plot(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    title: str,
    xlabel: str,
    ylabel: str,
) -> Any:
    """Draw curves, the best one first and in front.

    Args:
        curves: By name thresholds, values in percent, and the figure that ranks the curve.
        title: Above the plot.
        xlabel: Meaning and unit of the thresholds.
        ylabel: Meaning of the values.

    Returns:
        The ``matplotlib.figure.Figure``; its legend tells the figures in falling order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout='constrained')
    axes = figure.add_subplot()
    ranked = sorted(curves.items(), key=lambda item: -item[1][2])
    for rank, (name, (thresholds, values, value)) in enumerate(ranked):
        axes.plot(
            thresholds,
            values,
            color=PALETTE[rank % len(PALETTE)],
            linestyle=_STYLES[rank // len(PALETTE) % len(_STYLES)],
            linewidth=2,
            label=f'[{value:.1f}] {name}',
            zorder=3 + len(ranked) - rank,
        )
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, ylim=(0, 100))
    axes.margins(x=0)
    axes.grid(color='0.9')
    axes.legend(fontsize=9, loc='best')
    return figure


def success_plot(
    trackers: Mapping[str, Scores], title: str = '', chosen: np.ndarray | None = None
) -> Any:
    """Draw the share of frames by threshold of the overlap; the legend tells the area below.

    Args:
        trackers: Scores by name of the tracker.
        title: Above the plot.
        chosen: Which sequences, bool [S] or indices; None for all.
    """
    curves = {}
    for name, scores in trackers.items():
        success = scores.success[slice(None) if chosen is None else chosen].mean(axis=0)
        area = scores.figures(chosen)['success']
        curves[name] = (overlap_thresholds(scores.rules.overlap_bins), 100 * success, area)
    return curve_plot(curves, title or 'Success', 'overlap threshold', 'success rate [%]')


def precision_plot(
    trackers: Mapping[str, Scores],
    title: str = '',
    chosen: np.ndarray | None = None,
    normalized: bool = False,
) -> Any:
    """Draw the share of frames by threshold of the centre's error.

    Args:
        trackers: Scores by name of the tracker.
        title: Above the plot.
        chosen: Which sequences, bool [S] or indices; None for all.
        normalized: Whether errors are parts of the target's size instead of pixels.
    """
    curves = {}
    key = 'norm_precision' if normalized else 'precision'
    for name, scores in trackers.items():
        rates = getattr(scores, key)[slice(None) if chosen is None else chosen].mean(axis=0)
        thresholds = NORM_THRESHOLDS if normalized else CENTRE_THRESHOLDS
        curves[name] = (thresholds, 100 * rates, scores.figures(chosen)[key])
    unit = 'parts of the size' if normalized else 'pixels'
    above = title or ('Normalised precision' if normalized else 'Precision')
    return curve_plot(curves, above, f'location error threshold [{unit}]', 'precision [%]')


def overlap_plot(trackers: Mapping[str, Overlaps], title: str = '') -> Any:
    """Draw GOT-10k's success plot; the legend tells the average overlap."""
    curves = {
        name: (THRESHOLDS, 100 * found.curve(), found.figures()['AO'])
        for name, found in trackers.items()
    }
    return curve_plot(curves, title or 'Success', 'overlap threshold', 'success rate [%]')


def write_plots(trackers: Mapping[str, Scores], folder: str | Path, title: str = '') -> list[Path]:
    """Write ``success.png``, ``precision.png`` and ``norm_precision.png``.

    Args:
        trackers: Scores by name of the tracker.
        folder: Made if it is not there.
        title: Put behind the kind of plot, e.g. the name of the data.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    on = f' on {title}' if title else ''
    figures = {
        'success': success_plot(trackers, f'Success{on}'),
        'precision': precision_plot(trackers, f'Precision{on}'),
        'norm_precision': precision_plot(trackers, f'Normalised precision{on}', normalized=True),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f'{name}.png')
        save_png(figure, paths[-1])
    return paths


def write_attribute_plots(trackers: Mapping[str, Scores], folder: str | Path) -> list[Path]:
    """Write a success and a precision plot for each attribute of at least two sequences.

    Args:
        trackers: Scores by name of the tracker.
        folder: Made if there is a plot; files are called ``<attribute>_success.png``.

    Returns:
        The files.
    """
    folder, paths = Path(folder), []
    (scores, *_) = trackers.values()
    for row in attribute_table(scores):
        name, count = row['attribute'], row['sequences']
        if count < 2:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        chosen = np.array([name in truth.attributes for truth in scores.truths])
        stem = re.sub(r'\W+', '_', name.lower())
        for kind, draw in (('success', success_plot), ('precision', precision_plot)):
            paths.append(folder / f'{stem}_{kind}.png')
            save_png(draw(trackers, f'{kind.capitalize()}: {name} ({count})', chosen), paths[-1])
    return paths
