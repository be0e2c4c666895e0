"""Curves as plots, and plots as SVG that follows the page's light or dark theme."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.utils.logs import Series

from .fonts import use_fonts
from .palette import PALETTE

# Drawn in this colour, then replaced by ``currentColor``: axes follow the page's text colour.
_INK = '#010203'


def plot(
    curves: Sequence[Series],
    title: str,
    ylabel: str = '',
    xlabel: str = 'iteration',
    size: tuple[float, float] = (5.2, 3.0),
) -> Any:
    """Draw curves into a new ``matplotlib.figure.Figure``; empty ones are left out."""
    figure, axes = themed_axes(title, size)
    for i, curve in enumerate(curve for curve in curves if curve.steps):
        marker = 'o' if len(curve.steps) < 25 else None
        color = PALETTE[i % len(PALETTE)]
        style: dict[str, Any] = dict(color=color, lw=1.6, marker=marker, ms=3.5)
        axes.plot(curve.steps, curve.values, label=curve.name, **style)
    axes.set_xlabel(xlabel, color=_INK)
    axes.set_ylabel(ylabel, color=_INK)
    if axes.lines:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=8)
    else:
        axes.text(0.5, 0.5, 'nothing was logged', ha='center', color=_INK)
    return figure


def themed_axes(title: str, size: tuple[float, float] = (5.2, 3.0)) -> tuple[Any, Any]:
    """Return a new figure (size in inches) and its axes, whose ink :func:`to_svg` replaces."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({'svg.fonttype': 'none', 'font.size': 9, 'font.family': 'sans-serif'}):
        figure = Figure(figsize=size, layout='constrained')
        axes = figure.add_subplot()
        axes.set_title(title, color=_INK, fontsize=10, loc='left')
        axes.set_xlabel('', color=_INK)
        axes.tick_params(colors=_INK, labelsize=8)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color(_INK)
        axes.grid(color=_INK, alpha=0.12, lw=0.6)
    return figure, axes


def to_svg(figure: Any) -> str:
    """Return a figure as one ``<svg>`` element for HTML: no links, no fixed ink colour."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({'svg.fonttype': 'none'}):
        figure.savefig(buffer, format='svg', transparent=True)
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', '', text)
    return text.replace(_INK, 'currentColor')


def save_png(figure: Any, path: str | Path, dpi: int = 120) -> None:
    """Write a figure as PNG on white; missing folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    use_fonts(figure)
    figure.savefig(path, format='png', dpi=dpi, facecolor='white')


def save_plot(figure: Any, path: str | Path) -> None:
    """Write a figure as PNG, or as SVG for HTML, whichever the name ends in."""
    if str(path).endswith('.svg'):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(to_svg(figure), encoding='utf-8')
    else:
        save_png(figure, path)
