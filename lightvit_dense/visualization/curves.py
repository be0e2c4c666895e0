"""Logged scalars as series, and series as SVG that follows the page's light or dark theme."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Drawn in this colour, then replaced by ``currentColor``: axes follow the page's text colour.
_INK = '#010203'
# Readable on white and on near-black alike.
PALETTE = ('#3b82f6', '#f97316', '#10b981', '#d946ef', '#eab308', '#64748b')


@dataclass(frozen=True)
class Series:
    """One named curve.

    Attributes:
        name: Legend entry.
        steps: x values, ascending.
        values: y values, one for each step.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def find_scalars(work_dir: str | Path) -> list[Path]:
    """Return the ``scalars.json`` files below ``work_dir``, oldest run first.

    mmengine starts a new timestamped folder at every start, so a resumed run has several.
    """
    return sorted(Path(work_dir).glob('*/vis_data/scalars.json'))


def read_scalars(paths: str | Path | Iterable[str | Path]) -> list[dict]:
    """Read JSON-lines files of logged scalars.

    Args:
        paths: One file, or several in the order in which they were written.

    Returns:
        The records in order. A last line cut short by a kill is dropped.

    Raises:
        ValueError: If a line before the last is not a JSON object; names file and line.
    """
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records: list[dict] = []
    for file in files:
        lines = Path(file).read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError('not an object')
            except ValueError as error:
                if number == len(lines):
                    break
                raise ValueError(f'{file}, line {number}: not a JSON record ({error})') from error
            records.append(record)
    return records


def series(records: Sequence[Mapping], key: str, name: str | None = None) -> Series:
    """Pick one scalar out of the records.

    Where a resumed run logged a step again, the later record wins. What is not a number, or NaN,
    is left out.

    Args:
        records: From :func:`read_scalars`.
        key: Name of the scalar, such as ``'loss'`` or ``'coco/bbox_mAP'``.
        name: Legend entry; the key by default.
    """
    points: dict[float, float] = {}
    for record in records:
        value, step = record.get(key), record.get('step')
        if isinstance(value, (int, float)) and isinstance(step, (int, float)) and value == value:
            points[step] = float(value)
    steps = sorted(points)
    return Series(name or key, tuple(steps), tuple(points[step] for step in steps))


def keys_matching(records: Sequence[Mapping], pattern: str) -> list[str]:
    """Return the scalar names in which the regular expression ``pattern`` is found, sorted."""
    return sorted({key for record in records for key in record if re.search(pattern, key)})


def smooth(curve: Series, window: int) -> Series:
    """Return the trailing mean over at most ``window`` points.

    Raises:
        ValueError: If ``window`` is below one.
    """
    if window < 1:
        raise ValueError(f'window must be at least 1, got {window}')
    means = []
    for i in range(len(curve.values)):
        part = curve.values[max(0, i + 1 - window) : i + 1]
        means.append(sum(part) / len(part))
    return Series(curve.name, curve.steps, tuple(means))


def plot(
    curves: Sequence[Series],
    title: str,
    ylabel: str = '',
    xlabel: str = 'iteration',
    size: tuple[float, float] = (5.2, 3.0),
    log_y: bool = False,
) -> Any:
    """Draw curves into a new matplotlib figure; empty ones are left out.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    figure, axes = themed_axes(title, size)
    for i, curve in enumerate(curve for curve in curves if curve.steps):
        marker = 'o' if len(curve.steps) < 25 else None
        style: dict[str, Any] = {
            'color': PALETTE[i % len(PALETTE)],
            'lw': 1.6,
            'marker': marker,
            'ms': 3.5,
        }
        axes.plot(curve.steps, curve.values, label=curve.name, **style)
    axes.set_xlabel(xlabel, color=_INK)
    axes.set_ylabel(ylabel, color=_INK)
    if log_y:
        axes.set_yscale('log')
    if axes.lines:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=8)
    else:
        axes.text(0.5, 0.5, 'nothing was logged', ha='center', color=_INK)
    return figure


def themed_axes(title: str, size: tuple[float, float] = (5.2, 3.0)) -> tuple[Any, Any]:
    """Return a new figure and its empty axes, whose ink follows the page's text colour.

    The ink is the colour of the axes' labels; :func:`to_svg` replaces it.

    Args:
        title: Above the axes.
        size: Width and height in inches.
    """
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
    """Write a figure as PNG on white."""
    figure.savefig(path, format='png', dpi=dpi, facecolor='white')
