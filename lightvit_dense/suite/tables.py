"""Initialisation times task: our mean and deviation over seeds beside the papers' figure.

States are written out: *measured*, *running*, *failed*, *not run*; the papers' figures are marked
*paper*. Of every figure, more is better.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.suite.runs import Spread, paired
from lightvit_dense.utils.tables import to_csv, to_markdown

MEASURED, RUNNING, FAILED, NOT_RUN = 'measured', 'running', 'failed', 'not run'
UNPLANNED = 'not planned'
_MINUS, _DASH = '\N{MINUS SIGN}', '\N{EN DASH}'


@dataclass(frozen=True)
class TableColumn:
    """One figure of one task.

    Attributes:
        task: Name of the task.
        metric: Key of the figure.
        title: Heading: the task's title and the figure's.
        scale: What raw figures are multiplied by.
        digits: Digits after the point.
    """

    task: str
    metric: str
    title: str
    scale: float = 1.0
    digits: int = 1

    def show(self, value: float, signed: bool = False) -> str:
        """Return a figure as printed, with a true minus sign."""
        rounded = round(value, self.digits) + 0.0  # + 0.0 turns -0.0 into 0.0
        return f'{rounded:{"+" if signed else ""}.{self.digits}f}'.replace('-', _MINUS)


@dataclass(frozen=True)
class TableCell:
    """What is known of one initialisation on one figure; figures have the column's scale.

    Attributes:
        state: ``measured`` if a seed is; else ``running``, ``failed``, ``not run`` or
            ``not planned``.
        values: Figure of each measured seed.
        planned: Number of seeds.
        failed: Number of seeds that failed.
        paper: The papers' figure, None where nothing is published.
        source: Where that is printed.
        best: Whether it is the best mean of its column, among at least two.
    """

    state: str
    values: Mapping[int, float] = field(default_factory=dict)
    planned: int = 0
    failed: int = 0
    paper: float | None = None
    source: str | None = None
    best: bool = False

    @property
    def spread(self) -> Spread | None:
        """The measured figures; None if there are none."""
        return Spread(tuple(self.values.values())) if self.values else None

    @property
    def difference(self) -> float | None:
        """Our mean minus the papers' figure; None if either is missing."""
        if self.spread is None or self.paper is None:
            return None
        return self.spread.mean - self.paper


@dataclass(frozen=True)
class SuiteTable:
    """All figures of a suite.

    Attributes:
        inits: Name -> title of the initialisations, in order.
        columns: Figures in order.
        cells: A cell by ``(initialisation, task, metric)``.
    """

    inits: Mapping[str, str]
    columns: Sequence[TableColumn]
    cells: Mapping[tuple[str, str, str], TableCell]

    def cell(self, init: str, column: TableColumn) -> TableCell:
        """Return a cell."""
        return self.cells[init, column.task, column.metric]


def make_table(results: Mapping[str, Any]) -> SuiteTable:
    """Gather the cells of a suite's results.

    Args:
        results: What ``results.json`` of a suite holds.

    Raises:
        UserError: If there are two results for one initialisation, task and seed.
    """
    runs = _runs(results['cells'])
    paper = {(p['init'], p['task'], p['metric']): p for p in results.get('paper', ())}
    inits = {init['name']: init['title'] for init in results['inits']}
    columns = [
        TableColumn(
            task['name'],
            metric['key'],
            f'{task["title"]}, {metric["title"]}',
            metric.get('scale', 1.0),
            metric.get('digits', 1),
        )
        for task in results['tasks']
        for metric in task['metrics']
    ]
    cells: dict[tuple[str, str, str], TableCell] = {}
    for column in columns:
        made = {
            init: _cell(
                runs.get((init, column.task), []),
                column,
                paper.get((init, column.task, column.metric), {}),
            )
            for init in inits
        }
        best = _best(made, column)
        for init, content in made.items():
            cells[init, column.task, column.metric] = TableCell(**content, best=init in best)
    return SuiteTable(inits, columns, cells)


def _runs(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Group the runs by initialisation and task."""
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    seen = set()
    for cell in cells:
        name = cell['init'], cell['task'], cell['seed']
        if name in seen:
            raise UserError(
                'two results for one cell: {} on {}, seed {}. Remove one of them.'.format(*name)
            )
        seen.add(name)
        runs.setdefault(name[:2], []).append(cell)
    return runs


def _cell(
    runs: Sequence[Mapping[str, Any]], column: TableColumn, paper: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of a cell."""
    values = {
        run['seed']: column.scale * run['metrics'][column.metric]
        for run in runs
        if run['state'] == MEASURED and column.metric in run['metrics']
    }
    states = [run['state'] for run in runs]
    order = (RUNNING, FAILED, NOT_RUN)
    state = next((s for s in order if s in states), NOT_RUN if runs else UNPLANNED)
    return dict(
        state=MEASURED if values else state,
        values=dict(sorted(values.items())),
        planned=len(runs),
        failed=states.count(FAILED),
        paper=paper.get('value'),
        source=paper.get('source'),
    )


def _best(cells: Mapping[str, Mapping[str, Any]], column: TableColumn) -> set[str]:
    """Return the initialisations with the best mean as printed; none if only one was measured."""
    means = {
        init: round(Spread(tuple(cell['values'].values())).mean, column.digits)
        for init, cell in cells.items()
        if cell['values']
    }
    if len(means) < 2:
        return set()
    return {init for init, mean in means.items() if mean == max(means.values())}


def show_cell(cell: TableCell, column: TableColumn) -> str:
    """Return our part of a cell: mean, deviation and number of seeds, or its state."""
    if cell.spread is None:
        return _DASH if cell.state == UNPLANNED else cell.state
    text = column.show(cell.spread.mean)
    if cell.spread.deviation is not None:
        text += f' ± {column.show(cell.spread.deviation)}'
    count = str(len(cell.values))
    if len(cell.values) < cell.planned:
        count += f' of {cell.planned}'
    return f'{text} ({count})'


def is_whole(cell: TableCell) -> bool:
    """Return whether all planned seeds of a cell were measured."""
    return cell.state == MEASURED and len(cell.values) == cell.planned


def as_markdown(table: SuiteTable) -> str:
    """Return the table as Markdown, three lines an initialisation where a paper has figures.

    The best mean of a column is bold. Numbers in brackets count the seeds.
    """
    rows: list[list[object]] = []
    for init, title in table.inits.items():
        cells = [(table.cell(init, column), column) for column in table.columns]
        rows.append([title, '*measured*', *[_stress(*pair) for pair in cells]])
        if any(cell.paper is not None for cell, _ in cells):
            rows.append(
                ['', '*paper*', *[None if c.paper is None else k.show(c.paper) for c, k in cells]]
            )
        if any(cell.difference is not None for cell, _ in cells):
            shown = [
                None if c.difference is None else k.show(c.difference, signed=True)
                for c, k in cells
            ]
            rows.append(['', f'measured {_MINUS} paper', *shown])
    header = ['initialisation', '', *[column.title for column in table.columns]]
    legend = (
        '*measured*: our mean ± sample deviation (number of seeds), the best of a column in bold; '
        '*paper*: the authors.\n'
    )
    return f'{to_markdown(header, rows)}\n{legend}'


def _stress(cell: TableCell, column: TableColumn) -> str:
    text = show_cell(cell, column)
    if cell.spread is None:
        return text if cell.state == UNPLANNED else f'*{text}*'
    return f'**{text}**' if cell.best else text


_HEADER = (
    *('init', 'title', 'task', 'metric', 'state', 'mean', 'deviation', 'seeds'),
    *('planned', 'failed', 'best', 'values', 'paper', 'difference', 'source'),
)


def as_records(table: SuiteTable) -> list[dict[str, Any]]:
    """Return one record a cell, with unrounded figures in the column's scale."""
    records = []
    for init, title in table.inits.items():
        for column in table.columns:
            cell = table.cell(init, column)
            spread = cell.spread
            content = (
                *(init, title, column.task, column.metric, cell.state),
                spread.mean if spread else None,
                spread.deviation if spread else None,
                *(list(cell.values), cell.planned, cell.failed, cell.best),
                *(list(cell.values.values()), cell.paper, cell.difference, cell.source),
            )
            records.append(dict(zip(_HEADER, content, strict=True)))
    return records


def as_csv(table: SuiteTable) -> str:
    """Return one line a cell; seeds and their figures are separated by spaces."""

    def flat(value: object) -> object:
        return ' '.join(map(str, value)) if isinstance(value, list) else value

    rows = [[flat(value) for value in record.values()] for record in as_records(table)]
    return to_csv(_HEADER, rows)


def as_json(table: SuiteTable) -> str:
    """Return the records of :func:`as_records` as JSON."""
    return json.dumps(as_records(table), indent=1, ensure_ascii=False) + '\n'


def gains(table: SuiteTable, base: str) -> list[tuple[str, TableColumn, Spread]]:
    """Return the differences to an initialisation, paired by seed.

    Args:
        table: The figures.
        base: Name of the initialisation that the others are compared with.

    Returns:
        Initialisation, figure and differences of the seeds that both have.
    """
    found = []
    for init in table.inits:
        for column in table.columns:
            ours, theirs = table.cell(init, column).values, table.cell(base, column).values
            seeds = [seed for seed in ours if seed in theirs]
            if init != base and seeds:
                spread = paired([ours[s] for s in seeds], [theirs[s] for s in seeds])
                found.append((init, column, spread))
    return found
