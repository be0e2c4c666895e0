"""Initialisation times task: mean and deviation, the papers' figure; more is better."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.tables import to_csv, to_markdown

from .results import FAILED, MEASURED, NOT_RUN, RUNNING, Results, Run

UNPLANNED = 'not planned'
MINUS, DASH = '\N{MINUS SIGN}', '\N{EN DASH}'


def mean_std(values: Iterable[float]) -> tuple[float | None, float | None]:
    """Return mean and sample standard deviation (n - 1); None where there are too few values."""
    values = list(values)
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Column:
    """One figure of one task."""

    task: str
    metric: str
    title: str
    scale: float = 1.0  # what raw figures are multiplied by
    digits: int = 1

    def show(self, value: float, signed: bool = False) -> str:
        """Return a figure as printed, with a true minus sign."""
        rounded = round(value, self.digits) + 0.0  # + 0.0 turns -0.0 into 0.0
        return f'{rounded:{"+" if signed else ""}.{self.digits}f}'.replace('-', MINUS)

    def show_mean(self, values: Iterable[float], signed: bool = False) -> str:
        """Return mean ± standard deviation (number) of differences or figures."""
        values = list(values)
        std = mean_std(values)[1]
        spread = '' if std is None else f' ± {self.show(std)}'
        return f'{self.show(statistics.fmean(values), signed)}{spread} ({len(values)})'


@dataclass(frozen=True)
class Cell:
    """What is known of one initialisation on one figure; figures have the column's scale."""

    state: str  # measured if a seed is; else running, failed, not run or not planned
    values: Mapping[int, float] = field(default_factory=dict)  # by seed
    planned: int = 0  # seeds
    failed: int = 0  # seeds
    mean: float | None = None
    std: float | None = None
    seeds: int = 0  # measured
    paper: float | None = None
    source: str | None = None  # of the papers' figure
    best: bool = False  # best mean of its column as printed, among at least two

    @property
    def difference(self) -> float | None:
        """Our mean minus the papers' figure; None if either is missing."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    def show(self, column: Column) -> str:
        """Return our part of the cell: mean, deviation and number of seeds, or its state."""
        if self.mean is None:
            return DASH if self.state == UNPLANNED else self.state
        spread = '' if self.std is None else f' ± {column.show(self.std)}'
        of = f' of {self.planned}' if self.seeds < self.planned else ''
        return f'{column.show(self.mean)}{spread} ({self.seeds}{of})'


@dataclass(frozen=True)
class Table:
    """All figures of a suite."""

    inits: Mapping[str, str]  # name -> title
    columns: Sequence[Column]
    cells: Mapping[tuple[str, str, str], Cell]  # by initialisation, task and metric

    def cell(self, init: str, column: Column) -> Cell:
        """Return a cell."""
        return self.cells[init, column.task, column.metric]

    def differences(self, init: str, base: str, column: Column) -> dict[int, float]:
        """Return the figure of an initialisation minus that of another, by the seeds of both."""
        ours, theirs = self.cell(init, column).values, self.cell(base, column).values
        return {seed: value - theirs[seed] for seed, value in ours.items() if seed in theirs}

    def records(self) -> list[dict[str, Any]]:
        """Return one record a cell, with unrounded figures in the column's scale."""
        return [
            {
                **dict(init=init, title=title, task=column.task, metric=column.metric),
                **dict(state=cell.state, mean=cell.mean, std=cell.std, seeds=list(cell.values)),
                **dict(planned=cell.planned, failed=cell.failed, best=cell.best),
                **dict(values=list(cell.values.values()), paper=cell.paper),
                **dict(difference=cell.difference, source=cell.source),
            }
            for init, title in self.inits.items()
            for column in self.columns
            for cell in [self.cell(init, column)]
        ]

    def to_csv(self) -> str:
        """Return one line a cell; seeds and their figures are separated by spaces."""
        rows = [
            [' '.join(map(str, v)) if isinstance(v, list) else v for v in record.values()]
            for record in self.records()
        ]
        return to_csv(list(self.records()[0]) if rows else [], rows)

    def to_markdown(self) -> str:
        """Return Markdown, best figures in bold; a wide table is split by who has its columns."""
        groups: dict[tuple[str, ...], list[Column]] = {}
        wide = len(self.columns) > 12
        planned = {init for (init, *_), cell in self.cells.items() if cell.state != UNPLANNED}
        tried = [init for init in self.inits if init in planned]
        for column in self.columns:
            inits = [i for i in tried if not wide or self.cell(i, column).state != UNPLANNED]
            groups.setdefault(tuple(inits), []).append(column)
        return '\n'.join(self._markdown(inits, columns) for inits, columns in groups.items())

    def _markdown(self, inits: Iterable[str], columns: Sequence[Column]) -> str:
        """Return the table of some columns, the papers' figures below ours."""
        rows: list[list[object]] = []
        for init in inits:
            cells = [(self.cell(init, column), column) for column in columns]
            rows.append([self.inits[init], '*measured*', *[_stressed(*pair) for pair in cells]])
            papers = [None if c.paper is None else k.show(c.paper) for c, k in cells]
            gaps = [None if c.difference is None else k.show(c.difference, True) for c, k in cells]
            for words, values in (('*paper*', papers), (f'measured {MINUS} paper', gaps)):
                if any(values):
                    rows.append(['', words, *values])
        return to_markdown(['initialisation', '', *[c.title for c in columns]], rows)


def make_table(results: Results) -> Table:
    """Gather the cells of a suite's results; a UserError if a cell has two."""
    runs: dict[tuple[str, str], dict[int | None, Run]] = {}
    for run in results.cells:
        seeds = runs.setdefault((run.init, run.task), {})
        if run.seed in seeds:
            cell = f'{run.init} on {run.task}, seed {run.seed}'
            raise UserError(f'two results for one cell: {cell}. Remove one of them.')
        seeds[run.seed] = run
    paper = {(p['init'], p['task'], p['metric']): p for p in results.paper}
    known = {(s.init, s.task, s.metric): s.model_dump() for s in results.summaries}
    columns = [
        Column(task.name, metric.key, f'{task.title}, {metric.title}', metric.scale, metric.digits)
        for task in results.tasks
        for metric in task.metrics
    ]
    cells: dict[tuple[str, str, str], Cell] = {}
    for column in columns:
        content: dict[str, dict[str, Any]] = {}
        for init in results.inits:
            place = init.name, column.task, column.metric
            found = _content(list(runs.get(place[:2], {}).values()), column)
            if found['mean'] is None and place in known:  # its runs were not kept
                given = known[place]
                found |= {key: given[key] for key in ('mean', 'std', 'seeds')}
                found |= dict(state=MEASURED, planned=given['seeds'])
            elif results.summaries and found['state'] == UNPLANNED:
                found['state'] = NOT_RUN  # an arm that the suite has gained since
            printed = paper.get(place, {})
            content[init.name] = found
            found |= dict(paper=printed.get('value'), source=printed.get('source'))
        means = {
            name: round(values['mean'], column.digits)
            for name, values in content.items()
            if values['mean'] is not None
        }
        for name, values in content.items():
            best = len(means) > 1 and means.get(name) == max(means.values())
            cells[name, column.task, column.metric] = Cell(**values, best=best)
    return Table({init.name: init.title for init in results.inits}, columns, cells)


def _content(runs: Sequence[Run], column: Column) -> dict[str, Any]:
    values = {
        run.seed: column.scale * run.metrics[column.metric]
        for run in sorted(runs, key=lambda run: run.seed or 0)
        if run.state == MEASURED and column.metric in run.metrics
    }
    states = [run.state for run in runs]
    order = (RUNNING, FAILED, NOT_RUN)
    other = next((s for s in order if s in states), NOT_RUN if runs else UNPLANNED)
    mean, std = mean_std(values.values())
    state = MEASURED if values else other
    known = dict(state=state, values=values, planned=len(runs), failed=states.count(FAILED))
    return known | dict(mean=mean, std=std, seeds=len(values))


def _stressed(cell: Cell, column: Column) -> str:
    text = cell.show(column)
    if cell.mean is None:
        return text if cell.state == UNPLANNED else f'*{text}*'
    return f'**{text}**' if cell.best else text
