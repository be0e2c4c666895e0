"""Results of probes as text, Markdown, CSV, JSON and a picture."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.checkpoints import atomic_path, atomic_write

from .. import curves
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
    """Return top-1 accuracy over the layers, a curve for each pooling and method."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        match = re.fullmatch(r'(\w+)_layer(\d+)', row.features)
        if match:
            setting = f' {row.setting}' if row.method == 'knn' else ''
            name = f'{match[1]}, {row.method}{setting}'
            points.setdefault(name, []).append((int(match[2]), row.top1))
    found = []
    for name, values in points.items():
        layers, accuracies = zip(*sorted(values), strict=True)
        if len(layers) > 1:
            found.append(curves.Series(name, layers, accuracies))
    return found


def write(folder: Path, rows: Sequence[Row], story: Mapping[str, Any]) -> list[Path]:
    """Write ``probe.md``, ``probe.csv``, ``probe.json``, and ``layers.png`` of several layers.

    Args:
        folder: Where to.
        rows: The table.
        story: What the numbers belong to: config, checkpoint, data.

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
        'probe.json': json.dumps({**story, 'results': [r.plain() for r in rows]}, indent=2) + '\n',
    }
    for name, value in content.items():
        atomic_write(folder / name, value.encode())
    written = [folder / name for name in content]
    lines = by_layer(rows)
    if lines:
        picture = curves.plot(lines, 'Accuracy of features by layer', 'top-1 (%)', 'layer')
        with atomic_path(folder / 'layers.png') as temporary:
            curves.save_png(picture, temporary)
        written.append(folder / 'layers.png')
    return written
