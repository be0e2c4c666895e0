"""Measured speed against published accuracy, a bubble a model, as in the papers' first figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

from lightvit_dense.visualization import PALETTE

_PLAIN, _OURS = PALETTE[5], PALETTE[1]
# (points from the bubble's rim, angle), right and left first.
_TRIES = [(gap, k * pi / 6) for gap in (2, 6, 12, 20, 30, 45) for k in (0, 6, 3, 9, 1, 5, 7, 11)]


@dataclass(frozen=True)
class Bubble:
    """One model.

    Attributes:
        label: Its name in the picture.
        x: Speed.
        y: Accuracy in percent.
        params_m: Millions of parameters; the area of the bubble.
        ours: Whether it is highlighted.
    """

    label: str
    x: float
    y: float
    params_m: float
    ours: bool = False


def bubbles(rows: Sequence[Mapping[str, Any]], mode: str) -> list[Bubble]:
    """Return the bubbles of models that have both a speed and a published accuracy.

    A model with several published results, such as one with and one without distillation, has
    several bubbles above each other: they differ in training, not in speed.

    Args:
        rows: From :func:`~lightvit_dense.analysis.speed_table.make_row`.
        mode: 'throughput' in images/s, or 'latency', 'compiled' or 'onnx' in ms.
    """
    found = []
    for row in rows:
        cell = row.get(mode, {})
        speed = cell.get('images_per_s' if mode == 'throughput' else 'ms')
        if speed is None or 'parameters' not in row:
            continue
        for one in row['published']:
            params = row['parameters'] / 1e6
            bubble = Bubble(one['label'], speed['median'], one['top1'], params, one['pretrained'])
            found.append(bubble)
    return found


def _overlap(box: Any, others: Sequence[Any]) -> float:
    """Return the area in square pixels that a box shares with others."""
    area = 0.0
    for other in others:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        area += max(width, 0.0) * max(height, 0.0)
    return area


def _side(part: float) -> float:
    """Return where along its width or height a label touches a bubble that lies this way."""
    return 0.0 if part > 0.1 else 1.0 if part < -0.1 else 0.5


def place_labels(figure: Any, axes: Any, points: Sequence[Bubble], radii: Sequence[float]) -> list:
    """Write each label where it covers least of the bubbles and of the labels before it.

    Directions are tried at growing distances; a label that ends up away from its bubble gets a line
    to it.

    Args:
        figure: Figure whose limits and layout no longer change.
        axes: Its axes.
        points: The bubbles.
        radii: Their radii in points.

    Returns:
        The annotations, in the order of the bubbles.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure.pad_shape.draw()
    renderer, scale = figure.pad_shape.get_renderer(), figure.dpi / 72  # pixels in a point
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = []
    for (x, y), radius in zip(centres, radii, strict=True):
        reach = radius * scale
        taken.append(Bbox.from_extents(x - reach, y - reach, x + reach, y + reach))
    frame = axes.get_window_extent(renderer)
    texts = []
    for point, (x, y), radius in zip(points, centres, radii, strict=True):
        text = axes.annotate(
            point.label,
            (point.x, point.y),
            xytext=(0, 0),
            textcoords='offset points',
            va='bottom',
            fontsize=7.5,
            color=_OURS if point.ours else '#333333',
            fontweight='bold' if point.ours else 'normal',
            arrowprops={'arrowstyle': '-', 'lw': 0.5, 'color': '#999999', 'shrinkB': 2},
        )
        # The annotation's own extent would count its line.
        size = Text.get_window_extent(text, renderer)
        best: tuple[int, Any] = (0, frame)
        least = float('inf')
        for gap, angle in _TRIES:
            reach = (radius + gap) * scale
            left = x + reach * cos(angle) - size.width * _side(cos(angle))
            bottom = y + reach * sin(angle) - size.height * _side(sin(angle))
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            outside = size.width * size.height - _overlap(box, [frame])
            cost = _overlap(box.padded(1.5), taken) + 4 * outside + 0.05 * gap * gap
            if cost < least:
                best, least = (gap, box), cost
        gap, box = best
        text.set_position(((box.x0 - x) / scale, (box.y0 - y) / scale))
        text.arrow_patch.set_visible(gap > 6)
        taken.append(box)
        texts.append(text)
    return texts


def scatter(points: Sequence[Bubble], xlabel: str, title: str) -> Any:
    """Draw speed (logarithmic) against accuracy into a new matplotlib figure.

    Args:
        points: The bubbles.
        xlabel: What the speed is.
        title: Title.

    Returns:
        The ``matplotlib.figure.Figure``.

    Raises:
        ValueError: If there are no bubbles.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if not points:
        raise ValueError('no model has both a speed and a published accuracy')
    figure = Figure(figsize=(9.0, 5.6), layout='constrained', dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    areas = [30 * point.params_m for point in points]  # square points
    # Large ones first, so that small ones stay visible.
    for point, area in sorted(zip(points, areas, strict=True), key=lambda pair: -pair[1]):
        colour = _OURS if point.ours else _PLAIN
        axes.scatter(point.x, point.y, area, color=colour, alpha=0.55, lw=0.8, edgecolor=colour)
    axes.set_xscale('log')
    low, high = min(point.x for point in points), max(point.x for point in points)
    axes.set_xlim(low / 1.6, high * 1.6)
    bottom, top = min(point.y for point in points), max(point.y for point in points)
    margin = 0.08 * (top - bottom) + 0.5
    axes.set_ylim(bottom - margin, top + margin)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if high / low < 100:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel('ImageNet top-1 in % (published)')
    axes.set_title(title, loc='left', fontsize=10)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.2, lw=0.6)
    axes.text(
        1,
        0.01,
        'area: parameters; orange: pre-trained by masked image modelling',
        transform=axes.transAxes,
        ha='right',
        fontsize=7.5,
        color='#666666',
    )
    place_labels(figure, axes, points, [(area / pi) ** 0.5 for area in areas])
    return figure
