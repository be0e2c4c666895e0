"""What the two papers report, from ``papers.yml``; shown beside ours, marked *paper*."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightvit_dense.errors import UserError, require_known


@dataclass(frozen=True)
class PublishedCell:
    """One figure of a paper in percent; ``metric`` is called as our evaluators call it."""

    init: str
    task: str
    metric: str
    value: float
    table: str
    source: str  # where it is printed, in words


@dataclass(frozen=True)
class PublishedResult:
    """Accuracy, size and speed of a lightweight classifier."""

    label: str
    model: str  # the benchmark's name of the network; '' for one that timm does not carry
    top1: float
    params_m: float
    images_per_s: int | None = None  # on an RTX 3090
    real: float | None = None  # ImageNet-ReaL
    v2: float | None = None  # ImageNet-V2, matched frequency
    source: str = ''  # in words


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper: initialisations times tasks."""

    name: str
    title: str
    source: str  # key of SOURCES
    columns: Sequence[tuple[str, str, str]]  # task, metric, heading
    rows: Mapping[str, Sequence[float | None]]  # None where nothing is printed

    def cells(self) -> list[PublishedCell]:
        """Return all figures, row by row."""
        return [
            PublishedCell(init, task, metric, value, self.name, SOURCES[self.source])
            for init, values in self.rows.items()
            for (task, metric, _), value in zip(self.columns, values, strict=True)
            if value is not None
        ]


_CONTENT = yaml.safe_load(Path(__file__).with_name('papers.yml').read_text(encoding='utf-8'))
SOURCES: Mapping[str, str] = _CONTENT['sources']
INITS: Mapping[str, str] = _CONTENT['inits']
TABLES: Mapping[str, PaperTable] = {
    name: PaperTable(name, **content) for name, content in _CONTENT['tables'].items()
}
PUBLISHED = tuple(
    PublishedResult(**{**row, 'source': SOURCES[row.get('source', 'iclr')]})
    for row in _CONTENT['lightweight']
)
CONFIGS: Mapping[str, str | Sequence[str]] = _CONTENT['configs']
FIGURES: Mapping[str, Sequence[str]] = _CONTENT['figures']


def published(
    init: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    tables: Iterable[str] | None = None,
) -> list[PublishedCell]:
    """Return a cell's published figures, table by table; None stands for any initialisation."""
    names = TABLES if tables is None else list(tables)
    for name in names:
        require_known(name, TABLES, 'table of the papers')
    return [
        cell
        for name in names
        for cell in TABLES[name].cells()
        if init in (None, cell.init) and task in (None, cell.task) and metric in (None, cell.metric)
    ]


def published_for(config: str) -> list[PublishedCell] | str:
    """Return what a config, given by path, is to reach: words where only a picture is printed."""
    found = CONFIGS.get(config.removeprefix('configs/').removesuffix('.py'), [])
    if isinstance(found, str) and '.' not in found:
        return found
    cells = []
    for reference in [found] if isinstance(found, str) else found:
        table, row, *task = reference.split('.')
        if table == 'lightweight':
            (result,) = (entry for entry in PUBLISHED if entry.label == row)
            figures = {'real/top1': result.real, 'v2/top1': result.v2}
            cells += [
                PublishedCell(row, 'imagenet', key, value, table, result.source)
                for key, value in figures.items()
                if value is not None
            ]
        else:
            cells += published(row, task[0], tables=[table])
    return cells


def paper_cells(
    paper: Mapping[str, Any], inits: Iterable[str], tasks: Mapping[str, Iterable[str]]
) -> list[dict[str, Any]]:
    """Return the published figures that belong beside a suite's cells.

    ``paper`` has ``tables``: names of the tables, the first that has a cell counts; ``inits`` and
    ``tasks``: the papers' names by the suite's, where they differ (None: no counterpart). It may be
    empty; what is unknown is a UserError. ``tasks`` has the keys of their metrics. Returns
    ``init``, ``task``, ``metric`` of the suite, ``value`` in percent, ``source`` of each.
    """
    if not paper:
        return []
    inits = list(inits)
    rename_init, rename_task = paper.get('inits') or {}, paper.get('tasks') or {}
    # Names that a selection of the suite has dropped are no mistake.
    check_paper(paper, [*inits, *rename_init], [*tasks, *rename_task])
    found = []
    for init in inits:
        for task, metrics in tasks.items():
            names = rename_init.get(init, init), rename_task.get(task, task)
            for metric in metrics if None not in names else ():
                for cell in published(*names, metric, paper['tables'])[:1]:
                    shown = dict(init=init, task=task, metric=metric)
                    found.append(shown | dict(value=cell.value, source=cell.source))
    return found


def check_paper(paper: Mapping[str, Any], inits: Iterable[str], tasks: Iterable[str]) -> None:
    """Raise UserError if what a suite file says of the papers names what is unknown."""
    if not paper:
        return
    for key in paper:
        require_known(key, ('tables', 'inits', 'tasks'), 'paper')
    if not paper.get('tables'):
        raise UserError(f"paper lacks 'tables'; there are {', '.join(TABLES)}")
    for name in paper['tables']:
        require_known(name, TABLES, 'paper.tables')
    published_tasks = {task for table in TABLES.values() for task, *_ in table.columns}
    theirs = {'inits': INITS, 'tasks': sorted(published_tasks)}
    for part, ours in (('inits', list(inits)), ('tasks', list(tasks))):
        for name, other in (paper.get(part) or {}).items():
            require_known(name, ours, f'paper.{part}')
            if other is not None:
                require_known(other, theirs[part], f'paper.{part}.{name}')
