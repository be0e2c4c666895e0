"""A suite's figures as plots: every seed, mean and deviation, the papers' figure beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.logs import Series, find_scalars, read_scalars, series
from lightvit_dense.visualization import PALETTE
from lightvit_dense.visualization.curves import plot, themed_axes

from .tables import MEASURED, SuiteTable, TableColumn

POINTS = 150
"""Most points of a training curve: more are not seen, but make the page heavy."""


def draw_column(table: SuiteTable, column: TableColumn) -> Any:
    """Draw one figure of all initialisations: a dot a seed, mean and deviation as a bar.

    The papers' figure is a hollow diamond.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    figure, axes = themed_axes(column.title, (5.2, 0.9 + 0.42 * max(2, len(table.inits))))
    ink = axes.xaxis.label.get_color()
    for row, init in enumerate(table.inits):
        cell = table.cell(init, column)
        color = PALETTE[row % len(PALETTE)]
        if cell.spread is not None:
            axes.plot(list(cell.values.values()), [row] * len(cell.values), 'o', color=color, ms=4)
            axes.errorbar(
                cell.spread.mean,
                row,
                xerr=cell.spread.deviation,
                color=color,
                marker='|',
                ms=14,
                mew=2,
                capsize=4,
            )
        if cell.paper is not None:
            style = dict(color=ink, mfc='none', ms=7, ls='')
            axes.plot([cell.paper], [row], 'D', **style)
        if cell.spread is None and cell.paper is None:
            style = dict(color=ink, fontsize=8, transform=axes.get_yaxis_transform())
            axes.text(0.02, row, cell.state, va='center', **style)
    axes.set_yticks(range(len(table.inits)), list(table.inits.values()))
    axes.set_ylim(len(table.inits) - 0.5, -0.5)
    axes.margins(x=0.08)
    return figure


def is_drawable(table: SuiteTable, column: TableColumn) -> bool:
    """Return whether any initialisation has a figure in a column."""
    cells = [table.cell(init, column) for init in table.inits]
    return any(cell.spread is not None or cell.paper is not None for cell in cells)


def thin(curve: Series, points: int = POINTS) -> Series:
    """Return at most ``points`` points of a curve: means of equal runs of neighbours."""
    step = -(-len(curve.steps) // points)
    if step <= 1:
        return curve
    starts = range(0, len(curve.steps), step)
    steps = [curve.steps[i : i + step] for i in starts]
    values = [curve.values[i : i + step] for i in starts]
    return Series(
        curve.name,
        tuple(part[-1] for part in steps),
        tuple(sum(part) / len(part) for part in values),
    )


def logged(work_dir: Path, key: str, name: str) -> Series:
    """Return a scalar that a training logged; an empty curve if it did not or cannot be read."""
    try:
        return thin(series(read_scalars(find_scalars(work_dir)), key, name))
    except (OSError, UserError):
        return Series(name, (), ())


def pretraining_curves(results: Mapping[str, Any], root: Path) -> list[Any]:
    """Draw the losses of the pre-trainings.

    Args:
        results: What ``results.json`` of a suite holds.
        root: Folder that the runs' folders are relative to.

    Returns:
        Figures; none without logs.
    """
    runs = [run for run in results.get('pretrains', ()) if run.get('work_dir')]
    figures, drawn = [], set[str]()
    for key, title in (
        ('loss_reconstruction', 'Pre-training: reconstruction loss'),
        ('loss_distill', 'Pre-training: distillation loss (weighted)'),
        ('loss', 'Pre-training: sum of losses'),
    ):
        curves = [logged(root / run['work_dir'], key, run['title']) for run in runs]
        if key == 'loss':  # alone where there are no parts of it
            curves = [curve for curve in curves if curve.name not in drawn]
        drawn |= {curve.name for curve in curves if curve.steps}
        figures += _figure(curves, title)
    return figures


def task_curves(results: Mapping[str, Any], table: SuiteTable, root: Path) -> list[Any]:
    """Draw loss and leading figure of every task's trainings, one seed an initialisation.

    Args:
        results: What ``results.json`` of a suite holds.
        table: Its figures.
        root: Folder that the runs' folders are relative to.

    Returns:
        Figures; none without logs.
    """
    figures = []
    for task in results['tasks']:
        runs = _first_seed(results['cells'], task['name'], list(table.inits))
        leading = task['metrics'][0]
        for key, title, scale in (
            ('loss', f'{task["title"]}: sum of losses', 1.0),
            (leading['key'], f'{task["title"]}: validation {leading["title"]}', leading['scale']),
        ):
            curves = [
                _scaled(logged(root / run['work_dir'], key, table.inits[run['init']]), scale)
                for run in runs
            ]
            # A single validation at the end is a figure of the table, no curve.
            figures += _figure([c for c in curves if len(c.steps) > 1], title)
    return figures


def _first_seed(
    cells: Sequence[Mapping[str, Any]], task: str, inits: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Return the first measured run of each initialisation, in their order."""
    found: dict[str, Mapping[str, Any]] = {}
    for cell in sorted(cells, key=lambda cell: cell['seed']):
        if cell['task'] == task and cell['state'] == MEASURED and cell.get('work_dir'):
            found.setdefault(cell['init'], cell)
    return [found[init] for init in inits if init in found]


def _scaled(curve: Series, scale: float) -> Series:
    return Series(curve.name, curve.steps, tuple(scale * value for value in curve.values))


def _figure(curves: Sequence[Series], title: str) -> list[Any]:
    curves = [curve for curve in curves if curve.steps]
    return [plot(curves, title)] if curves else []
