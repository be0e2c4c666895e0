"""The analyses as pictures: attention, agreement, CKA and spectra."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lightvit_dense.errors import UserError
from lightvit_dense.visualization import PALETTE

from .agreement import PairAgreement
from .attention import LayerStats
from .fourier import Spectrum

PAPERS_RANGES = {'distance': (0.0, 150.0), 'entropy': (0.0, 6.0)}
"""The papers' y axes of attention, made for 196 patches of 16 px."""
RANGES = ('auto', 'papers')
WRITTEN_UP_TO = 14
"""Layers up to which CKA's values are written into the cells."""
_INK = '#334155'
_ATTENTION = {'distance': 'attention distance (px)', 'entropy': 'attention entropy (nats)'}
_AGREEMENT = {  # with the ends of their scales, which begin at 0
    'cosine': ('cosine of mean maps', 1.0),
    'js': ('Jensen-Shannon divergence (nats)', math.log(2)),
    'explained': ('R² of a map of heads', 1.0),
}
Titled = Sequence[tuple[str, Sequence[LayerStats]]]


def _color(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    """Return a new figure of a size in inches, and its panels side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({'font.size': 9, 'font.family': 'sans-serif'}):
        figure = Figure(figsize=(width, height), layout='constrained')
        return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def plot_attention(models: Titled, y_range: str = 'auto') -> Any:
    """Draw attention distance and entropy by layer, as in the papers' Figure 5.

    A box spans the quartiles of a layer's heads, its whiskers reach to the last head within 1.5
    times that span; every head is a dot, and a line joins the medians. Dashed is the greatest
    number possible, dotted (distance only) that of uniform attention. ``y_range`` 'auto' shows the
    greatest possible number, 'papers' has the papers' axes.
    """
    if not models or y_range not in RANGES:
        raise UserError(f'a picture needs a model and a y range of {RANGES}, got {y_range!r}')
    layers = max(stats[-1].layer for _, stats in models)
    width = max(4.2, 1.4 + 0.17 * layers * (1 + len(models)))
    figure, panels = _figure(2 * width, 3.6, 2)
    for axes, name in zip(panels, _ATTENTION, strict=True):
        _attention_panel(axes, models, name)
        axes.set_ylim(PAPERS_RANGES[name] if y_range == 'papers' else (0, None))
    if len(models) > 1:
        handles = panels[0].get_legend_handles_labels()
        columns = min(len(models), 5)
        legend = figure.legend(*handles, loc='outside upper center', ncols=columns, frameon=False)
        for line in legend.get_lines():
            line.set(linewidth=3, alpha=1)
    else:
        figure.suptitle(models[0][0], fontsize=10, color=_INK)
    return figure


def _attention_panel(axes: Any, models: Titled, name: str) -> None:
    """Draw one number of all networks."""
    step = 0.8 / len(models)
    for index, (title, stats) in enumerate(models):
        color = _color(index)
        places = [s.layer + (index - (len(models) - 1) / 2) * step for s in stats]
        values = [getattr(s, name) for s in stats]
        parts = {'color': color, 'lw': 0.9}
        drawn = axes.boxplot(
            values,
            positions=places,
            widths=0.75 * step,
            patch_artist=True,
            showfliers=False,  # each head is a dot already
            manage_ticks=False,
            boxprops={'facecolor': color + '40', 'edgecolor': color, 'lw': 0.9},
            medianprops={'color': color, 'lw': 1.8},
            whiskerprops=parts,
            capprops=parts,
        )
        for place, heads in zip(places, values, strict=True):
            axes.plot([place] * len(heads), heads, '.', color=color, ms=3, alpha=0.5, mew=0)
        medians = [line.get_ydata()[0] for line in drawn['medians']]
        axes.plot(places, medians, '-', color=color, lw=0.7, alpha=0.7, label=title)
    _limits(axes, models, lambda s: getattr(s, f'max_{name}'), '--', 'largest possible')
    if name == 'distance':
        _limits(axes, models, lambda s: s.uniform_distance, ':', 'uniform attention')
    shown = sorted({s.layer for _, stats in models for s in stats})
    axes.set_xticks(shown if len(shown) <= 16 else shown[:: -(-len(shown) // 12)])
    axes.set_xlim(shown[0] - 0.7, shown[-1] + 0.7)
    axes.set_xlabel('layer')
    axes.set_ylabel(_ATTENTION[name])
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color=_INK, alpha=0.12, lw=0.6)


def _limits(
    axes: Any, models: Titled, value: Callable[[LayerStats], float], style: str, label: str
) -> None:
    """Draw a number that does not depend on weights as a staircase, once if all have the same."""
    stairs = [tuple((s.layer, round(value(s), 6)) for s in stats) for _, stats in models]
    for index, steps in enumerate(stairs):
        if steps in stairs[:index]:
            continue
        color = _INK if set(stairs) == {steps} else _color(index)
        for layer, height in steps:
            axes.hlines(height, layer - 0.5, layer + 0.5, colors=color, linestyles=style, lw=0.9)
    place = (stairs[0][-1][0] + 0.5, stairs[0][-1][1])
    options = {'textcoords': 'offset points', 'ha': 'right', 'fontsize': 7, 'color': _INK}
    axes.annotate(label, place, (0, 2), **options)


def agreement_matrix(pairs: Sequence[PairAgreement], name: str) -> np.ndarray:
    """Return a number of pairs [student layers, teacher layers], NaN where there is no pair."""
    shape = max(p.student for p in pairs), max(p.teacher for p in pairs)
    matrix = np.full(shape, np.nan)
    for pair in pairs:
        matrix[pair.student - 1, pair.teacher - 1] = getattr(pair, name)
    return matrix


def plot_agreement(pairs: Sequence[PairAgreement], titles: tuple[str, str]) -> Any:
    """Draw pairs of layers of a student and a teacher, whose names are the titles.

    More than one teacher layer for a student layer makes heat-maps (layer 1 at the bottom left,
    darker for less agreement, blank where resolutions differ); else there is a point a pair.
    """
    heat = len({pair.student for pair in pairs}) < len(pairs)
    figure, panels = _figure(11.5, 3.8 if heat else 3.0, 3)
    for axes, (name, (label, end)) in zip(panels, _AGREEMENT.items(), strict=True):
        axes.set_title(label, fontsize=9.5, loc='left')
        if heat:
            _agreement_map(figure, axes, agreement_matrix(pairs, name), end, name == 'js')
            axes.set_xlabel(f'layer of {titles[1]}')
            axes.set_ylabel(f'layer of {titles[0]}')
        else:
            _agreement_points(axes, pairs, name, end)
            axes.set_xlabel(f'layers {titles[0]} : {titles[1]}')
    return figure


def _agreement_map(figure: Any, axes: Any, matrix: np.ndarray, end: float, turned: bool) -> None:
    """Draw a matrix on its whole scale, dark where the two disagree."""
    rows, columns = matrix.shape
    extent = (0.5, columns + 0.5, 0.5, rows + 0.5)
    colors = dict(cmap='magma_r' if turned else 'magma', vmin=0, vmax=end)
    image = axes.imshow(matrix, origin='lower', extent=extent, aspect='equal', **colors)
    for set_ticks, count in ((axes.set_xticks, columns), (axes.set_yticks, rows)):
        set_ticks(range(1, count + 1, 1 if count <= 14 else 2))
    if max(matrix.shape) <= 6:
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                dark = (value < 0.6 * end) != turned
                style = {'ha': 'center', 'va': 'center', 'fontsize': 7}
                axes.text(column + 1, row + 1, f'{value:.2f}', color='w' if dark else 'k', **style)
    figure.colorbar(image, ax=axes, shrink=0.85)


def _agreement_points(axes: Any, pairs: Sequence[PairAgreement], name: str, end: float) -> None:
    """Draw one number of a few pairs."""
    values = [getattr(pair, name) for pair in pairs]
    axes.plot(range(len(pairs)), values, 'o-', color=PALETTE[0], lw=1.2, ms=5)
    for place in enumerate(values):
        axes.annotate(f'{place[1]:.3f}', place, (0, 6), textcoords='offset points', ha='center')
    axes.set_xticks(range(len(pairs)), [f'{pair.student}:{pair.teacher}' for pair in pairs])
    axes.set_xlim(-0.6, len(pairs) - 0.4)
    axes.set_ylim(0, 1.12 * end)
    axes.axhline(end, color='0.5', ls='--', lw=0.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.2, lw=0.6)


def plot_cka(matrix: np.ndarray, titles: Sequence[str]) -> Any:
    """Draw CKA from 0 to 1, the first network upwards, the embeddings at the lower left."""
    rows, columns = matrix.shape
    inscribed = max(rows, columns) <= WRITTEN_UP_TO
    cell = 0.4 if inscribed else 5.6 / max(rows, columns)
    figure, (axes,) = _figure(1.9 + max(2.4, cell * columns), 1.3 + max(2.4, cell * rows))
    image = axes.imshow(matrix, cmap='magma', vmin=0, vmax=1, origin='lower')
    for axis, title, count in ((axes.xaxis, titles[1], columns), (axes.yaxis, titles[0], rows)):
        axis.set_ticks(range(0, count, max(1, count // 14)))
        axis.set_label_text(f'layer of {title}')
    if inscribed:
        for (row, column), value in np.ndenumerate(matrix):
            style = {'ha': 'center', 'va': 'center', 'fontsize': 6}
            text = f'{value:.2f}'.replace('0.', '.', 1)
            axes.text(column, row, text, color='black' if value > 0.6 else 'white', **style)
    axes.set_title('layer 0: patch embedding', loc='left', fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label='CKA')
    return figure


def plot_fourier(models: Sequence[tuple[str, Sequence[Spectrum]]]) -> Any:
    """Draw log amplitudes of (title, spectra), coloured by depth, and the highest by layer."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure, panels = _figure(3.1 * (len(models) + 1) + 0.8, 3.4, len(models) + 1)
    colors, last = colormaps['plasma_r'], panels[-1]
    everything = [value for _, spectra in models for s in spectra for value in s.values]
    low, high = min(everything), max(everything)
    margin = 0.05 * (high - low or 1)
    for axes, (title, spectra) in zip(panels, models, strict=False):
        for spectrum in spectra:
            shade = colors(0.1 + 0.9 * spectrum.layer / max(1, len(spectra) - 1))
            axes.plot(spectrum.frequency, spectrum.values, color=shade, lw=1.2)
        axes.set_xlim(0, 1)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xticks([0, 0.5, 1], ['0', '0.5π', '1.0π'])
        axes.set_xlabel('frequency')
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel('Δ log amplitude')
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colors), ax=panels[-2], ticks=[0, 1])
    bar.set_ticklabels(['embedding', 'end'], fontsize=7, rotation=90, va='center')
    for number, (title, spectra) in enumerate(models):
        layers, values = zip(*((s.layer, s.highest) for s in spectra), strict=True)
        style = {'color': _color(number), 'marker': 'osv^Dx'[number % 6], 'ms': 4, 'lw': 1.2}
        last.plot(layers, values, label=title, **style)
    last.set_xlabel('layer (0: patch embedding)')
    last.set_ylabel('at the highest frequency')
    last.grid(alpha=0.25)
    last.legend(fontsize=7)
    return figure
