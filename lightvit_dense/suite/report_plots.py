"""A suite's figures and training curves as plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.logs import Series, find_scalars, read_scalars, series
from lightvit_dense.visualization import PALETTE
from lightvit_dense.visualization.curves import plot, themed_axes

from .results import MEASURED, Results
from .table import Column, Table

POINTS = 150
"""Most points of a training curve: more are not seen, but make the page heavy."""
PARTS = {
    'loss_reconstruction': 'Pre-training: reconstruction loss',
    'loss_distill': 'Pre-training: distillation loss (weighted)',
    'loss': 'Pre-training: sum of losses',
}


def draw_column(table: Table, column: Column) -> Any:
    """Draw a dot a seed, mean and deviation as a bar, papers' figures as diamonds; None if none."""
    cells = [table.cell(init, column) for init in table.inits]
    if all(cell.mean is None and cell.paper is None for cell in cells):
        return None
    figure, axes = themed_axes(column.title, (5.2, 0.9 + 0.42 * max(2, len(cells))))
    ink = axes.xaxis.label.get_color()
    for row, cell in enumerate(cells):
        color = PALETTE[row % len(PALETTE)]
        if cell.mean is not None:
            axes.plot(list(cell.values.values()), [row] * len(cell.values), 'o', color=color, ms=4)
            style: dict[str, Any] = dict(color=color, marker='|', ms=14, mew=2, capsize=4)
            axes.errorbar(cell.mean, row, xerr=cell.std, **style)
        if cell.paper is not None:
            axes.plot([cell.paper], [row], 'D', color=ink, mfc='none', ms=7, ls='')
        if cell.mean is None and cell.paper is None:
            place = axes.get_yaxis_transform()
            axes.text(0.02, row, cell.state, va='center', color=ink, fontsize=8, transform=place)
    axes.set_yticks(range(len(cells)), list(table.inits.values()))
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.margins(x=0.08)
    return figure


def draw_sweep(results: Results, table: Table, column: Column) -> Any:
    """Draw a figure against the values of a sweep: a line a series, the others dashed."""
    figure, axes = themed_axes(column.title, (5.2, 3.6))
    cells = [(init, table.cell(init.name, column)) for init in results.inits]
    measured = [(init, cell) for init, cell in cells if cell.mean is not None]
    for place, name in enumerate(dict.fromkeys(init.series for init, _ in measured)):
        chosen = [(init, cell) for init, cell in measured if init.series == name]
        if not name:
            for init, cell in chosen:
                axes.axhline(cell.mean, ls='--', lw=1.4, color='#777', label=init.title)
            continue
        means, stds = ([getattr(c, k) or 0 for _, c in chosen] for k in ('mean', 'std'))
        color = PALETTE[place % len(PALETTE)]
        style: dict[str, Any] = dict(color=color, marker='o', ms=4, capsize=3, label=name)
        axes.errorbar([init.value for init, _ in chosen], means, yerr=stds, **style)
    axes.set_xlabel(results.sweep)
    if measured:
        axes.legend(frameon=False, fontsize=8)
    return figure if measured else None


def thin(curve: Series, points: int = POINTS) -> Series:
    """Return at most ``points`` points of a curve: means of equal runs of neighbours."""
    step = -(-len(curve.steps) // points)
    if step <= 1:
        return curve
    starts = range(0, len(curve.steps), step)
    values = [curve.values[i : i + step] for i in starts]
    return Series(
        curve.name,
        tuple(curve.steps[i : i + step][-1] for i in starts),
        tuple(sum(part) / len(part) for part in values),
    )


def logged(work_dir: Path, key: str, name: str, scale: float = 1.0) -> Series:
    """Return a scalar that a training logged; an empty curve if it did not or cannot be read."""
    try:
        curve = thin(series(read_scalars(find_scalars(work_dir)), key, name))
    except (OSError, UserError):
        return Series(name, (), ())
    return Series(name, curve.steps, tuple(scale * value for value in curve.values))


def training_curves(results: Results, table: Table, root: Path) -> list[Any]:
    """Draw losses of pre-trainings, then loss and leading figure of each task's first seed."""
    figures: list[Any] = []

    def add(curves: Sequence[Series], title: str, points: int = 1) -> None:
        curves = [curve for curve in curves if len(curve.steps) >= points]
        if curves:
            figures.append(plot(curves, title))

    drawn = set[str]()
    pretrained = [run for run in results.runs if run.kind == 'pretrain']
    for key, title in PARTS.items():
        curves = [logged(root / run.folder, key, run.title) for run in pretrained]
        if key == 'loss':  # alone where there are no parts of it
            curves = [curve for curve in curves if curve.name not in drawn]
        drawn |= {curve.name for curve in curves if curve.steps}
        add(curves, title)
    for task in results.tasks:
        first: dict[str, Path] = {}
        for run in sorted(results.cells, key=lambda run: run.seed or 0):
            if run.task == task.name and run.state == MEASURED and run.folder:
                first.setdefault(run.init, root / run.folder)
        metric = task.metrics[0]
        folders = [(first[init], title) for init, title in table.inits.items() if init in first]
        add([logged(folder, 'loss', title) for folder, title in folders], f'{task.title}: loss', 2)
        curves = [logged(folder, metric.key, title, metric.scale) for folder, title in folders]
        # A single validation at the end is a figure of the table, no curve.
        add(curves, f'{task.title}: validation {metric.title}', 2)
    return figures
