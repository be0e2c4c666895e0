"""Agreement of layers with layers: heat-maps over all pairs, or points for a few."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightvit_dense.visualization import PALETTE

from .agreement import PairAgreement

_PANELS = {
    'cosine': ('cosine of mean maps', 1.0),
    'js': ('Jensen-Shannon divergence (nats)', math.log(2)),
    'explained': ('share explained by a map of heads', 1.0),
}
"""Numbers that have a scale of their own, with its end; 0 is its beginning."""


def agreement_matrix(pairs: Sequence[PairAgreement], name: str) -> np.ndarray:
    """Return a number by layers: rows the student's, columns the teacher's, from layer 1.

    Args:
        pairs: Numbers of pairs.
        name: 'cross_entropy', 'kl', 'cosine', 'js' or 'explained'.

    Returns:
        [student layers, teacher layers], NaN where a pair was not compared.
    """
    shape = max(p.student for p in pairs), max(p.teacher for p in pairs)
    matrix = np.full(shape, np.nan)
    for pair in pairs:
        matrix[pair.student - 1, pair.teacher - 1] = getattr(pair, name)
    return matrix


def plot_agreement(pairs: Sequence[PairAgreement], titles: tuple[str, str]) -> Any:
    """Draw pairs of layers of a student and a teacher.

    More than one teacher layer for a student layer makes heat-maps (layer 1 at the bottom left,
    darker for less agreement, blank where resolutions differ); else there is a point a pair.

    Args:
        pairs: Numbers of pairs.
        titles: The student's and the teacher's names.

    Returns:
        The ``matplotlib.figure.Figure``, three panels.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heat = len({pair.student for pair in pairs}) < len(pairs)
    with rc_context({'font.size': 9, 'font.family': 'sans-serif'}):
        figure = Figure(figsize=(11.5, 3.8 if heat else 3.0), layout='constrained')
        for axes, (name, (label, end)) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
            axes.set_title(label, fontsize=9.5, loc='left')
            if heat:
                _heat(figure, axes, agreement_matrix(pairs, name), end, name == 'js')
                axes.set_xlabel(f'layer of {titles[1]}')
                axes.set_ylabel(f'layer of {titles[0]}')
            else:
                _points(axes, pairs, name, end)
                axes.set_xlabel(f'layers {titles[0]} : {titles[1]}')
    return figure


def _heat(figure: Any, axes: Any, matrix: np.ndarray, end: float, turned: bool) -> None:
    """Draw a matrix on its whole scale, dark where the two disagree."""
    rows, columns = matrix.shape
    image = axes.imshow(
        matrix,
        cmap='magma_r' if turned else 'magma',
        vmin=0,
        vmax=end,
        origin='lower',
        extent=(0.5, columns + 0.5, 0.5, rows + 0.5),
        aspect='equal',
    )
    for set_ticks, count in ((axes.set_xticks, columns), (axes.set_yticks, rows)):
        set_ticks(range(1, count + 1, 1 if count <= 14 else 2))
    if max(matrix.shape) <= 6:
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                dark = (value < 0.6 * end) != turned
                style = {'ha': 'center', 'va': 'center', 'fontsize': 7}
                axes.text(column + 1, row + 1, f'{value:.2f}', color='w' if dark else 'k', **style)
    figure.colorbar(image, ax=axes, shrink=0.85)


def _points(axes: Any, pairs: Sequence[PairAgreement], name: str, end: float) -> None:
    """Draw one number of a few pairs."""
    places = range(len(pairs))
    values = [getattr(pair, name) for pair in pairs]
    axes.plot(places, values, 'o-', color=PALETTE[0], lw=1.2, ms=5)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f'{value:.3f}', (place, value), (0, 6), textcoords='offset points', ha='center'
        )
    axes.set_xticks(places, [f'{pair.student}:{pair.teacher}' for pair in pairs])
    axes.set_xlim(-0.6, len(pairs) - 0.4)
    axes.set_ylim(0, 1.12 * end)
    axes.axhline(end, color='0.5', ls='--', lw=0.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.2, lw=0.6)
