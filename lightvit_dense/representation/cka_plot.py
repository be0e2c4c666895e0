"""The heat map of CKA between the layers of two networks, and its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.visualization.curves import save_png

WRITTEN_UP_TO = 14
"""Layers up to which the values are written into the cells."""


def draw_cka(matrix: np.ndarray, titles: Sequence[str]) -> Any:
    """Draw a heat map from 0 to 1, the embeddings of both networks at the lower left.

    Args:
        matrix: CKA [layers of the first, layers of the second].
        titles: Names of the networks; the first is the vertical axis.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure

    rows, columns = matrix.shape
    inscribed = max(rows, columns) <= WRITTEN_UP_TO
    cell = 0.4 if inscribed else 5.6 / max(rows, columns)
    width, height = 1.9 + max(2.4, cell * columns), 1.3 + max(2.4, cell * rows)
    figure = Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap='magma', vmin=0, vmax=1, origin='lower')
    for axis, title, count in ((axes.xaxis, titles[1], columns), (axes.yaxis, titles[0], rows)):
        step = max(1, count // 14)
        axis.set_ticks(range(0, count, step))
        axis.set_label_text(f'layer of {title}')
    if inscribed:
        for (row, column), value in np.ndenumerate(matrix):
            color = 'black' if value > 0.6 else 'white'
            text = f'{value:.2f}'.replace('0.', '.', 1)
            axes.text(column, row, text, ha='center', va='center', fontsize=6, color=color)
    axes.set_title('layer 0: patch embedding', loc='left', fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label='CKA')
    return figure


def write_cka(matrix: np.ndarray, titles: Sequence[str], folder: Path) -> list[Path]:
    """Write ``cka.npz`` and ``cka.png``.

    Args:
        matrix: CKA [layers of the first, layers of the second].
        titles: Names of the networks.
        folder: Where the files go; it exists.

    Returns:
        The files.
    """
    arrays, picture = folder / 'cka.npz', folder / 'cka.png'
    np.savez(arrays, matrix=matrix, titles=np.array(titles, dtype=str))
    save_png(draw_cka(matrix, titles), picture, dpi=150)
    return [arrays, picture]
