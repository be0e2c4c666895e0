"""Success and precision plots of several trackers together."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.visualization import PALETTE
from lightvit_dense.visualization.curves import save_png

_STYLES = ('-', '--', '-.', ':')
_LABELS = {
    'success': ('Success', 'overlap threshold', 'success rate [%]'),
    'precision': ('Precision', 'location error threshold [pixels]', 'precision [%]'),
    'norm_precision': ('Normalised precision', 'normalised error threshold', 'precision [%]'),
}


def curve_plot(
    trackers: Mapping[str, Any],
    kind: str = 'success',
    title: str = '',
    chosen: np.ndarray | None = None,
) -> Any:
    """Draw the curves of trackers, the best one first and in front; the place gives the colour.

    Trackers are :class:`Scores` or, of 'success', :class:`Overlaps`, by name; ``kind`` is
    'success', 'precision' or 'norm_precision', ``chosen`` which sequences, bool [S] or indices.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout='constrained')
    axes = figure.add_subplot()
    curves = {name: found.curve(kind, chosen) for name, found in trackers.items()}
    ranked = sorted(curves.items(), key=lambda item: -item[1][2])
    for rank, (name, (thresholds, values, value)) in enumerate(ranked):
        place = [*trackers].index(name)  # one colour in all plots, and in film strips
        axes.plot(
            thresholds,
            values,
            color=PALETTE[place % len(PALETTE)],
            linestyle=_STYLES[place // len(PALETTE) % len(_STYLES)],
            linewidth=2,
            label=f'[{value:.1f}] {name}',
            zorder=3 + len(ranked) - rank,
        )
    heading, xlabel, ylabel = _LABELS[kind]
    axes.set(title=title or heading, xlabel=xlabel, ylabel=ylabel, ylim=(0, 100))
    axes.margins(x=0)
    axes.grid(color='0.9')
    axes.legend(fontsize=9, loc='best')
    return figure


def write_plots(
    trackers: Mapping[str, Any],
    folder: str | Path,
    title: str = '',
    kinds: tuple[str, ...] = tuple(_LABELS),
) -> list[Path]:
    """Write ``success.png``, ``precision.png`` and ``norm_precision.png`` on data of a title."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder) / f'{kind}.png' for kind in kinds]
    for kind, path in zip(kinds, paths, strict=True):
        heading = f'{_LABELS[kind][0]} on {title}' if title else ''
        save_png(curve_plot(trackers, kind, heading), path)
    return paths


def write_attribute_plots(trackers: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write ``<attribute>_success.png`` and ``_precision`` where two sequences or more have it."""
    paths = []
    (scores, *_) = trackers.values()
    for row in scores.rows('attribute'):
        name, count = row['attribute'], row['sequences']
        if count < 2:
            continue
        Path(folder).mkdir(parents=True, exist_ok=True)
        chosen = np.array([name in truth.attributes for truth in scores.truths])
        stem = re.sub(r'\W+', '_', name.lower())
        for kind in ('success', 'precision'):
            paths.append(Path(folder) / f'{stem}_{kind}.png')
            title = f'{kind.capitalize()}: {name} ({count})'
            save_png(curve_plot(trackers, kind, title, chosen), paths[-1])
    return paths
