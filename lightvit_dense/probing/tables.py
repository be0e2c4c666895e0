"""Results of probes as text, Markdown, CSV, JSON and a picture."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.utils.io import atomic_path, atomic_write
from lightvit_dense.visualization import curves

from .measure import Row

COLUMNS = ('features', 'method', 'setting', 'top-1 %', 'top-5 %', 'seconds')


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text."""
    numbers = (f'{row.top1:.2f}', f'{row.top5:.2f}', f'{row.seconds:.1f}')
    return (row.features, row.method, row.setting, *numbers)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    rule = ('---', '---', '---', '--:', '--:', '--:')
    lines = [COLUMNS, rule, *map(cells, rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def by_layer(rows: Sequence[Row]) -> list[curves.Series]:
    """Return top-1 accuracy over the layers, a curve for each pooling and method.

    Of the numbers of neighbours each layer shows the best.
    """
    best: dict[str, dict[int, float]] = {}
    for row in rows:
        match = re.fullmatch(r'(\w+)_layer(\d+)', row.features)
        if match:
            method = 'knn, best k' if row.method == 'knn' else row.method
            found = best.setdefault(f'{match[1]}: {method}', {})
            layer = int(match[2])
            found[layer] = max(row.top1, found.get(layer, 0.0))
    return [
        curves.Series(name, tuple(sorted(found)), tuple(found[layer] for layer in sorted(found)))
        for name, found in best.items()
        if len(found) > 1
    ]


def draw(lines: Sequence[curves.Series]) -> Any:
    """Draw curves of :func:`by_layer`; returns a matplotlib figure."""
    figure = curves.plot(lines, 'Accuracy of features by layer', 'top-1 (%)', 'layer')
    axes = figure.axes[0]
    axes.set_xticks(sorted({layer for line in lines for layer in line.steps}))
    axes.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
    return figure


def write(folder: Path, rows: Sequence[Row], metadata: Mapping[str, Any]) -> list[Path]:
    """Write ``probe.md``, ``probe.csv``, ``probe.json``, and ``layers.png`` of several layers.

    Args:
        folder: Where to.
        rows: The table.
        metadata: What the numbers belong to: config, checkpoint, data.

    Returns:
        The files written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(cells(row) for row in rows)
    content = {
        'probe.md': markdown(rows),
        'probe.csv': text.getvalue(),
        'probe.json': json.dumps({**metadata, 'results': [r.plain() for r in rows]}, indent=2)
        + '\n',
    }
    for name, value in content.items():
        atomic_write(folder / name, value.encode())
    written = [folder / name for name in content]
    lines = by_layer(rows)
    if lines:
        with atomic_path(folder / 'layers.png') as temporary:
            curves.save_png(draw(lines), temporary)
        written.append(folder / 'layers.png')
    return written
