"""Passes over classifiers pooled into rows; the rows as Markdown and pictures."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from lightvit_dense.suite.papers import PUBLISHED, published_of

from lightvit_dense.utils.tables import to_markdown
from lightvit_dense.visualization.curves import PALETTE, save_png

from .classifier_modes import MODES, Cell
from .harness import summary
from .references.classifiers import Classifier

Row = Mapping[str, Any]


def make_row(model: str, entry: Classifier, passes: Sequence[Mapping[str, Cell]]) -> dict[str, Any]:
    """Pool a model's passes.

    Args:
        model: Its name on the command line.
        entry: The model.
        passes: Cells by their names, one mapping a pass.

    Returns:
        For every mode that was asked for the summary of images/s, or of ms, or what keeps it from
        having one: the first ``error``, else what is ``unavailable``.
    """
    row: dict[str, Any] = {'model': model, 'title': entry.title, 'note': entry.note}
    row |= {'image_size': entry.size, 'passes': len(passes)}
    for mode in ('size', *MODES):
        cells = [cells[mode] for cells in passes if mode in cells]
        if not cells:
            continue
        wrong = [{k: c[k]} for k in ('error', 'unavailable') for c in cells if k in c]
        if wrong or mode == 'size':
            row[mode] = wrong[0] if wrong else cells[0]
        elif mode == 'throughput':
            row[mode] = summary([c['batch'] / s for c in cells for s in c['seconds']])
            row[mode]['batch'] = cells[0]['batch']
            row[mode]['peak_memory_mb'] = statistics.median(c['peak_memory_mb'] for c in cells)
        else:
            row[mode] = summary([1e3 * s for c in cells for s in c['seconds']])
            row[mode]['relative_error'] = max(c.get('relative_error', 0.0) for c in cells)
    return row


def errors_of(row: Row) -> list[str]:
    """Return ``mode: reason`` of each cell of a row that is an error."""
    wrong = [mode for mode in ('size', *MODES) if 'error' in row.get(mode, {})]
    return [f'{mode}: {row[mode]["error"]}' for mode in wrong]


def _number(value: float | None, digits: int = 3) -> str:
    """Write a number with at least ``digits`` significant digits, a dash for None."""
    if value is None:
        return '-'
    return f'{value:.0f}' if abs(value) >= 10 ** (digits - 1) else f'{value:.{digits}g}'


def _cell(row: Row, mode: str) -> str:
    """Write median (IQR) of a mode, or why there is none."""
    found = row.get(mode, {'unavailable': ''})
    if 'median' in found:
        return f'{_number(found["median"])} ({_number(found["iqr"], 2)})'
    return found.get('unavailable', 'error')


def _sizes(row: Row) -> list[str]:
    """Write millions of parameters, GMACs and GFLOPs."""
    size = row['size']
    if 'parameters' not in size:
        return ['error'] * 3
    return [f'{size["parameters"] / 1e6:.2f}', *(f'{size[n] / 1e9:.2f}' for n in ('macs', 'flops'))]


def speed_table(rows: Sequence[Row]) -> str:
    """Return the table of all models, and the errors."""
    header = ['model', 'px', 'params M', 'GMACs', 'GFLOPs', 'batch', 'images/s (IQR)', 'peak MiB']
    header += ['ms eager (IQR)', 'ms compiled (IQR)', 'ms ONNX (IQR)', 'ONNX error', 'notes']
    lines = []
    for row in rows:
        batch, onnx = row.get('throughput', {}), row.get('onnx', {})
        line = [row['title'], row['image_size'], *_sizes(row), batch.get('batch', '')]
        line += [_cell(row, 'throughput')]
        line += [_number(batch['peak_memory_mb']) if 'peak_memory_mb' in batch else '']
        line += [_cell(row, mode) for mode in ('latency', 'compiled', 'onnx')]
        line += [f'{onnx["relative_error"]:.0e}' if 'median' in onnx else '', row['note']]
        lines.append(line)
    notes = [
        'Speeds are *measured*: the median over all calls of all passes, with the interquartile '
        'range. GMACs count a multiply-add of matrix products, attention and convolutions once, '
        'GFLOPs twice; activations, norms and pooling are not counted. Weights are random. Peak '
        'MiB is of weights and eager batches, in a process of its own: on a CPU what the process '
        'grew by. ONNX error is the largest difference from torch over the largest logit.',
    ]
    notes += [f'- error, {row["title"]}, {text}' for row in rows for text in errors_of(row)]
    return to_markdown(header, lines) + '\n' + '\n'.join(notes) + '\n'


def paper_table(rows: Sequence[Row]) -> str:
    """Return table 2 of the study beside what was measured; what has no row is *not run*."""
    measured = {row['model']: row for row in rows}
    header = ['network', 'params M *paper*', 'params M *measured*', 'GMACs *measured*']
    header += ['images/s *paper*', 'images/s (IQR) *measured*']
    header += ['top-1 *paper*', 'ReaL *paper*', 'V2 *paper*']
    lines = []
    for one in PUBLISHED:
        found = measured.get(one.model)
        sizes, rate = ['*not run*' if one.model else 'not in timm'] * 2, ''
        if found is not None:
            sizes, rate = _sizes(found)[:2], _cell(found, 'throughput')
        scores = ['-' if n is None else f'{n:.1f}' for n in (one.top1, one.real, one.v2)]
        paper = _number(one.images_per_s, 1)
        lines.append([one.label, f'{one.params_m:g}', *sizes, paper, rate, *scores])
    sources = '; '.join(dict.fromkeys(one.source for one in PUBLISHED))
    note = f'*paper*: {sources}; images/s on one RTX 3090, batch 1024, mixed precision.'
    return f'{to_markdown(header, lines)}\n{note}\n'


def overlap(box: Any, others: Sequence[Any]) -> float:
    """Return the area in square pixels that a box shares with others."""
    area = 0.0
    for other in others:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        area += max(width, 0.0) * max(height, 0.0)
    return area


def place_labels(axes: Any, points: Sequence[tuple[Any, float]]) -> list[Any]:
    """Write each label where it covers least of the bubbles and of the labels before it."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.draw_without_rendering()
    frame, pixels, texts = axes.get_window_extent(), figure.dpi / 72, []
    centres = [axes.transData.transform((speed, one.top1)) for one, speed in points]
    reaches = [pixels * (30 * one.params_m / pi) ** 0.5 for one, _ in points]
    taken = [
        Bbox.from_bounds(x - reach, y - reach, 2 * reach, 2 * reach)
        for (x, y), reach in zip(centres, reaches, strict=True)
    ]
    for (one, _), (x, y), reach in zip(points, centres, reaches, strict=True):
        text = axes.text(0, 0, one.label, fontsize=7.5, transform=None)
        text.set_fontweight('bold' if one.pretrained else 'normal')
        size = text.get_window_extent()
        least, best = float('inf'), frame
        for gap, angle in product((2, 6, 12, 20, 30, 45), range(12)):
            cos, sin = np.cos(angle * pi / 6), np.sin(angle * pi / 6)
            # A label to the right begins there, one to the left ends there.
            left = x + (reach + gap * pixels) * cos - size.width * (1 - cos) / 2
            bottom = y + (reach + gap * pixels) * sin - size.height * (1 - sin) / 2
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            outside = size.width * size.height - overlap(box, [frame])
            cost = overlap(box.padded(1.5), taken) + 4 * outside + 0.05 * gap * gap
            if cost < least:
                least, best = cost, box
        text.set_position((best.x0, best.y0))
        taken.append(best)
        texts.append(text)
    return texts


def scatter(points: Sequence[tuple[Any, float]], axis: str) -> Any:
    """Draw published results and their measured speed, a bubble as large as the parameters."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(9.0, 5.6), layout='constrained', dpi=120)
    axes = figure.add_subplot(xscale='log', xlabel=f'{axis} (measured)')
    axes.set_ylabel('ImageNet top-1 in % (published)')
    # Large ones first, so that small ones stay visible.
    for one, speed in sorted(points, key=lambda point: -point[0].params_m):
        colour = PALETTE[1] if one.pretrained else PALETTE[5]
        axes.scatter(speed, one.top1, 30 * one.params_m, color=colour, alpha=0.55)
    axes.margins(0.12, 0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    title = 'area: parameters; orange: pre-trained by masked image modelling'
    axes.set_title(title, loc='left', fontsize=9)
    axes.grid(alpha=0.2, lw=0.6)
    place_labels(axes, points)
    return figure


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw speed against published accuracy for each mode into a folder; returns the files."""
    files = []
    for mode, axis in MODES.items():
        speeds = [(row['model'], row.get(mode, {}).get('median')) for row in rows]
        points = [(one, speed) for name, speed in speeds if speed for one in published_of(name)]
        if points:
            files.append(folder / f'{mode}.png')
            save_png(scatter(points, axis), files[-1])
    return files
