"""Results of probes as text, Markdown, CSV, JSON and a picture."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightvit_dense.utils.io import atomic_path, atomic_write, write_json
from lightvit_dense.utils.logs import Series
from lightvit_dense.utils.tables import to_csv, to_markdown
from lightvit_dense.visualization import curves

from .measure import Row

COLUMNS = ('features', 'method', 'setting', 'top-1 %', 'top-5 %', 'seconds')


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text."""
    numbers = (f'{row.top1:.2f}', f'{row.top5:.2f}', f'{row.seconds:.1f}')
    return (row.features, row.method, row.setting, *numbers)


def by_layer(rows: Sequence[Row]) -> list[Series]:
    """Return top-1 over the layers by pooling and method, with the best number of neighbours."""
    best: dict[str, dict[int, float]] = {}
    for row in rows:
        match = re.fullmatch(r'(\w+)_layer(\d+)', row.features)
        if match:
            method = 'knn, best k' if row.method == 'knn' else row.method
            found = best.setdefault(f'{match[1]}: {method}', {})
            layer = int(match[2])
            found[layer] = max(row.top1, found.get(layer, 0.0))
    return [
        Series(name, tuple(sorted(found)), tuple(found[layer] for layer in sorted(found)))
        for name, found in best.items()
        if len(found) > 1
    ]


def draw(lines: Sequence[Series]) -> Any:
    """Draw curves of :func:`by_layer`; returns a matplotlib figure."""
    figure = curves.plot(lines, 'Accuracy of features by layer', 'top-1 (%)', 'layer')
    axes = figure.axes[0]
    axes.set_xticks(sorted({layer for line in lines for layer in line.steps}))
    axes.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
    return figure


def write(folder: Path, rows: Sequence[Row], metadata: Mapping[str, Any]) -> list[Path]:
    """Write ``probe.{md,csv,json}``, and ``layers.png`` of several layers; return the files."""
    texts = [cells(row) for row in rows]
    results = {**metadata, 'results': [asdict(row) for row in rows]}
    content = {'probe.md': to_markdown(COLUMNS, texts), 'probe.csv': to_csv(COLUMNS, texts)}
    for name, value in content.items():
        atomic_write(folder / name, value.encode())
    write_json(folder / 'probe.json', results)
    written = [folder / name for name in (*content, 'probe.json')]
    lines = by_layer(rows)
    if lines:
        written.append(folder / 'layers.png')
        with atomic_path(written[-1]) as temporary:
            curves.save_png(draw(lines), temporary)
    return written
