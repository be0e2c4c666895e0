"""Attention distance and entropy by layer, a box over the heads, as in the papers' Figure 5."""

from collections.abc import Callable, Sequence
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.visualization import PALETTE

from .attention import LayerStats

PAPERS_RANGES = {'distance': (0.0, 150.0), 'entropy': (0.0, 6.0)}
"""The papers' y axes, made for 196 patches of 16 px."""
RANGES = ('auto', 'papers')
_INK = '#334155'
_TITLES = {'distance': 'attention distance (px)', 'entropy': 'attention entropy (nats)'}


def plot_attention(
    models: Sequence[tuple[str, Sequence[LayerStats]]], y_range: str = 'auto'
) -> Any:
    """Draw distance and entropy of one or several networks side by side.

    A box spans the quartiles of a layer's heads, its whiskers reach to the last head within 1.5
    times that span; every head is a dot, and a line joins the medians. Dashed is the greatest
    number possible, dotted (distance only) that of uniform attention.

    Args:
        models: (title, numbers by layer).
        y_range: 'auto' to show the greatest possible number, 'papers' for the papers' axes.

    Returns:
        The ``matplotlib.figure.Figure``, two panels.

    Raises:
        UserError: If there is no model, or the range is unknown.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not models or y_range not in RANGES:
        raise UserError(f'a picture needs a model and a y range of {RANGES}, got {y_range!r}')
    layers = max(stats[-1].layer for _, stats in models)
    width = max(4.2, 1.4 + 0.17 * layers * (1 + len(models)))
    with rc_context({'font.size': 9, 'font.family': 'sans-serif'}):
        figure = Figure(figsize=(2 * width, 3.6), layout='constrained')
        for axes, name in zip(figure.subplots(1, 2), _TITLES, strict=True):
            _panel(axes, models, name)
            axes.set_ylim(PAPERS_RANGES[name] if y_range == 'papers' else (0, None))
        if len(models) > 1:
            handles = figure.axes[0].get_legend_handles_labels()
            legend = figure.legend(
                *handles, loc='outside upper center', ncols=min(len(models), 5), frameon=False
            )
            for line in legend.get_lines():
                line.set(linewidth=3, alpha=1)
        else:
            figure.suptitle(models[0][0], fontsize=10, color=_INK)
    return figure


def _panel(axes: Any, models: Sequence[tuple[str, Sequence[LayerStats]]], name: str) -> None:
    """Draw one number of all networks."""
    step = 0.8 / len(models)
    for index, (title, stats) in enumerate(models):
        colour = PALETTE[index % len(PALETTE)]
        places = [s.layer + (index - (len(models) - 1) / 2) * step for s in stats]
        values = [getattr(s, name) for s in stats]
        parts = {'color': colour, 'lw': 0.9}
        drawn = axes.boxplot(
            values,
            positions=places,
            widths=0.75 * step,
            patch_artist=True,
            showfliers=False,  # each head is a dot already
            manage_ticks=False,
            boxprops={'facecolor': colour + '40', 'edgecolor': colour, 'lw': 0.9},
            medianprops={'color': colour, 'lw': 1.8},
            whiskerprops=parts,
            capprops=parts,
        )
        for place, heads in zip(places, values, strict=True):
            axes.plot([place] * len(heads), heads, '.', color=colour, ms=3, alpha=0.5, mew=0)
        medians = [line.get_ydata()[0] for line in drawn['medians']]
        axes.plot(places, medians, '-', color=colour, lw=0.7, alpha=0.7, label=title)
    _limits(axes, models, lambda s: getattr(s, f'max_{name}'), '--', 'largest possible')
    if name == 'distance':
        _limits(axes, models, lambda s: s.uniform_distance, ':', 'uniform attention')
    shown = sorted({s.layer for _, stats in models for s in stats})
    axes.set_xticks(shown if len(shown) <= 16 else shown[:: -(-len(shown) // 12)])
    axes.set_xlim(shown[0] - 0.7, shown[-1] + 0.7)
    axes.set_xlabel('layer')
    axes.set_ylabel(_TITLES[name])
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color=_INK, alpha=0.12, lw=0.6)


def _limits(
    axes: Any,
    models: Sequence[tuple[str, Sequence[LayerStats]]],
    value: Callable[[LayerStats], float],
    style: str,
    label: str,
) -> None:
    """Draw a number that does not depend on weights as a staircase, once if all have the same."""
    drawn = set()
    for index, (_, stats) in enumerate(models):
        steps = tuple((s.layer, round(value(s), 6)) for s in stats)
        if steps in drawn:
            continue
        drawn.add(steps)
        same = all(
            tuple((s.layer, round(value(s), 6)) for s in other) == steps for _, other in models
        )
        colour = _INK if same else PALETTE[index % len(PALETTE)]
        for layer, height in steps:
            axes.hlines(height, layer - 0.5, layer + 0.5, colors=colour, linestyles=style, lw=0.9)
        if len(drawn) == 1:
            place = (steps[-1][0] + 0.5, steps[-1][1])
            axes.annotate(
                label, place, (0, 2), textcoords='offset points', ha='right', fontsize=7, color=_INK
            )
