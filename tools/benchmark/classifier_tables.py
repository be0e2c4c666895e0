"""Passes over classifiers pooled into rows; the rows as Markdown and pictures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.suite.papers import PUBLISHED, published_of
from lightvit_dense.visualization.curves import save_png
from lightvit_dense.visualization.palette import PALETTE

from . import harness
from .classifier_modes import MODES, Cell
from .harness import summary
from .references.classifiers import Classifier

Row = Mapping[str, Any]
Column = Callable[[Any], str]


def make_row(
    model: str, entry: Classifier, passes: Sequence[Mapping[str, Cell]], modes: Sequence[str]
) -> dict[str, Any]:
    """Pool the cells of a model's passes.

    A mode becomes the summary of images/s or of ms, or what keeps it from having one: the first
    ``error``, else what is ``unavailable``.
    """
    row: dict[str, Any] = {'model': model, 'title': entry.title, 'note': entry.note}
    row |= {'image_size': entry.size, 'passes': len(passes)}
    for mode in ('size', *modes):
        cells = [cells[mode] for cells in passes if mode in cells]
        wrong = [{k: c[k]} for k in ('error', 'unavailable') for c in cells if k in c]
        if wrong or not cells or mode == 'size':
            row[mode] = wrong[0] if wrong else (cells or [{}])[0]
        elif mode == 'throughput':
            row[mode] = summary([c['batch'] / s for c in cells for s in c['seconds']])
            memory = statistics.median(c['peak_memory_mb'] for c in cells)
            row[mode] |= {'batch': cells[0]['batch'], 'peak_memory_mb': memory}
        else:
            row[mode] = summary([1e3 * s for c in cells for s in c['seconds']])
            row[mode]['relative_error'] = max(c['relative_error'] for c in cells)
    return row


def errors_of(row: Row) -> list[str]:
    """Return ``mode: reason`` of each cell of a row that is an error."""
    wrong = [mode for mode in ('size', *MODES) if 'error' in row.get(mode, {})]
    return [f'{mode}: {row[mode]["error"]}' for mode in wrong]


def _number(value: float, digits: int = 3) -> str:
    """Write a number with at least ``digits`` significant digits."""
    return f'{value:.0f}' if abs(value) >= 10 ** (digits - 1) else f'{value:.{digits}g}'


def _cell(row: Row, mode: str) -> str:
    """Write median (IQR) of a mode, or why there is none."""
    found = row.get(mode, {})
    if 'median' in found:
        return f'{_number(found["median"])} ({_number(found["iqr"], 2)})'
    return 'error' if 'error' in found else found.get('unavailable', '')


_SIZES = ('params M', 'GMACs', 'GFLOPs')


def _sizes(row: Row) -> list[str]:
    """Write millions of parameters, GMACs and GFLOPs."""
    scales = (('parameters', 1e6), ('macs', 1e9), ('flops', 1e9))
    return [f'{row["size"][k] / v:.2f}' if k in row['size'] else 'error' for k, v in scales]


def speed_table(rows: Sequence[Row]) -> str:
    """Return the table of all models, and the errors."""

    def inside(mode: str, key: str, text: str) -> Column:
        return lambda row: harness.column(key, text)(row.get(mode, {}))

    columns: dict[str, Column] = {
        'model': lambda row: row['title'],
        'px': harness.column('image_size'),
        **{name: lambda row, k=k: _sizes(row)[k] for k, name in enumerate(_SIZES)},
        'batch': inside('throughput', 'batch', '{}'),
        'images/s (IQR)': lambda row: _cell(row, 'throughput'),
        'peak MiB': inside('throughput', 'peak_memory_mb', '{:.0f}'),
        'ms eager (IQR)': lambda row: _cell(row, 'latency'),
        'ms compiled (IQR)': lambda row: _cell(row, 'compiled'),
        'ms ONNX (IQR)': lambda row: _cell(row, 'onnx'),
        'ONNX error': inside('onnx', 'relative_error', '{:.0e}'),
        'notes': lambda row: row['note'],
    }
    notes = [
        'Speeds are *measured*: the median over all calls of all passes, with the interquartile '
        'range. GMACs count a multiply-add of matrix products, attention and convolutions once, '
        'GFLOPs twice; activations, norms and pooling are not counted. Weights are random. Peak '
        'MiB is of weights and eager batches, in a process of its own: on a CPU what the process '
        'grew by. ONNX error is the largest difference from torch over the largest logit.',
    ]
    notes += [f'- error, {row["title"]}, {text}' for row in rows for text in errors_of(row)]
    return '\n'.join([harness.table('Speed of classifiers', columns, rows), *notes, ''])


def paper_table(rows: Sequence[Row]) -> str:
    """Return table 2 of the study beside what was measured; what has no row is *not run*."""
    measured = {row['model']: row for row in rows}

    def found(place: int) -> Column:
        """Write params M, GMACs or images/s as measured."""

        def write(one: Any) -> str:
            row = measured.get(one.model)
            if row is not None:
                return [*_sizes(row)[:2], _cell(row, 'throughput')][place]
            return '' if place == 2 else '*not run*' if one.model else 'not in timm'

        return write

    def printed(name: str, text: str = '{:.1f}') -> Column:
        return lambda one: '-' if getattr(one, name) is None else text.format(getattr(one, name))

    columns = {
        'network': printed('label', '{}'),
        'params M *paper*': printed('params_m', '{:g}'),
        'params M *measured*': found(0),
        'GMACs *measured*': found(1),
        'images/s *paper*': printed('images_per_s', '{:.0f}'),
        'images/s (IQR) *measured*': found(2),
        'top-1 *paper*': printed('top1'),
        'ReaL *paper*': printed('real'),
        'V2 *paper*': printed('v2'),
    }
    sources = '; '.join(dict.fromkeys(one.source for one in PUBLISHED))
    note = f'*paper*: {sources}; images/s on one RTX 3090, batch 1024, mixed precision.'
    return f'{harness.table("Table 2", columns, PUBLISHED)}\n{note}\n'


def scatter(points: Sequence[tuple[Any, float]], axis: str) -> Any:
    """Draw published results and their measured speed, a bubble as large as the parameters."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(9.0, 5.0), layout='constrained', dpi=120)
    axes = figure.add_subplot(xscale='log', xlabel=f'{axis} (measured)')
    axes.set_ylabel('ImageNet top-1 in % (published)')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axes.xaxis.set_minor_formatter('{x:g}')
    axes.margins(0.1)
    ranked = sorted(points, key=lambda point: -point[0].top1)
    for rank, (one, speed) in enumerate(ranked, 1):
        # Small ones above large ones, so that they stay visible.
        style = dict(color=PALETTE[1 if one.pretrained else 5], zorder=2 + 1 / one.params_m)
        axes.scatter(speed, one.top1, 40 * one.params_m, alpha=0.5, **style)
        axes.annotate(str(rank), (speed, one.top1), ha='center', va='center', fontsize=7)
    names = [f'{rank}  {one.label}' for rank, (one, _) in enumerate(ranked, 1)]
    title = 'area: parameters; orange:\npre-trained by masked\nimage modelling'
    blank = [axes.plot([], [])[0] for _ in names]
    figure.legend(blank, names, loc='outside right', fontsize=7, handlelength=0, title=title)
    axes.grid(alpha=0.2, lw=0.6)
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
