"""Findings about figures of tasks: one initialisation against others, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from lightvit_dense.errors import UserError
from lightvit_dense.suite.runs import Spread

from .findings_evidence import Evidence, Judgement, Known, names
from .findings_rules import (
    ABSENT,
    APPEARS,
    BETTER,
    CONFIDENCE,
    UNCLEAR,
    UNDECIDED,
    WORSE,
    Comparison,
    NotRunError,
    compare,
    find_column,
    joint_verdict,
    values_of,
)
from .tables import SuiteTable, TableColumn

TaskName = str | Mapping[str, str]
"""Name of a task, whose leading figure counts, or ``dict(task=, metric=)``."""


@dataclass(frozen=True)
class AtLeast:
    """An initialisation is at least as good as another one.

    For each task the differences are taken seed by seed, and their t interval says whether the
    initialisation is better, worse, or neither. The finding *appears* if it is better on at least
    one task and worse on none, *does not appear* if it is worse on at least one and better on
    none, and is *undecided* else; always so with one seed.

    Args:
        title: The statement.
        init: The initialisation that is said to be as good or better.
        base: The other one, or several.
        tasks: The tasks; all by default.
        source: Where it is said.
        margin: In the tables' unit: a loss up to this still counts as level, so that the
            statement is tested as "worse by no more than this".
        confidence: Of the intervals.
        results: Other results to take the figures from, see
            :func:`~.findings_evidence.results_path`.
    """

    kind: ClassVar[str] = 'at_least'
    title: str
    init: str
    base: str | Sequence[str]
    tasks: Sequence[TaskName] | None = None
    source: str = ''
    margin: float = 0.0
    confidence: float = CONFIDENCE
    results: str | None = None

    def check(self, known: Known, where: str) -> None:
        """Check all names, see :func:`~.findings.check_findings`."""
        for init in (self.init, *names(self.base)):
            known.require_init(init, where)
        if self.init in names(self.base):
            raise UserError(f'{where} compares {self.init!r} with itself')
        check_tasks(self.tasks, known, where)
        check_number(self.confidence, 0, 1, f'{where}.confidence')
        check_number(self.margin, 0, float('inf'), f'{where}.margin')

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict."""
        table = evidence.table(self.results)
        found, missing = [], []
        for column in columns_of(table, self.tasks):
            for base in names(self.base):
                label = column.title
                if len(names(self.base)) > 1:
                    label += f' against {table.inits.get(base, base)}'
                common = self.confidence, self.margin, label
                try:
                    found.append(compare(table, self.init, base, column, *common))
                except NotRunError as error:
                    missing.append(str(error))
        subject = f'{title_of(table, self.init)} minus {_joined(table, names(self.base))}'
        text = describe(found, subject, self.confidence, self.margin)
        if missing:
            raise NotRunError(' '.join(filter(None, [_and(missing) + '.', text])))
        verdict = joint_verdict([comparison.outcome for comparison in found])
        return Judgement(verdict, text, [comparison.numbers() for comparison in found])


@dataclass(frozen=True)
class Ordering:
    """Initialisations rank in a given order.

    For each task, the slope of the figure over the rank is taken seed by seed. The finding
    *appears* if the means are in the given order on every task and the t interval of the slope is
    above zero on at least one and below on none; it *does not appear* if a slope is below zero on
    at least one task and above on none, or if two neighbours are clearly the other way round; it
    is *undecided* else.

    Args:
        title: The statement.
        inits: At least two, the worst first.
        tasks: The tasks; all by default.
        source: Where it is said.
        confidence: Of the intervals.
        results: As in :class:`AtLeast`.
    """

    kind: ClassVar[str] = 'ordering'
    title: str
    inits: Sequence[str]
    tasks: Sequence[TaskName] | None = None
    source: str = ''
    confidence: float = CONFIDENCE
    results: str | None = None

    def check(self, known: Known, where: str) -> None:
        """Check all names, see :func:`~.findings.check_findings`."""
        if isinstance(self.inits, str) or len(set(self.inits)) != len(self.inits):
            raise UserError(f'{where}.inits must be a list of different initialisations')
        if len(self.inits) < 2:
            raise UserError(f'{where}.inits needs at least two initialisations, the worst first')
        for init in self.inits:
            known.require_init(init, where)
        check_tasks(self.tasks, known, where)
        check_number(self.confidence, 0, 1, f'{where}.confidence')

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict."""
        table = evidence.table(self.results)
        numbers, texts, outcomes = [], [], []
        ordered, reversed_pairs = True, []
        for column in columns_of(table, self.tasks):
            slopes, means = self._slopes(table, column)
            slope = Comparison(column.title, column, slopes, self.confidence)
            pairs = [
                compare(table, high, low, column, self.confidence)
                for low, high in pairwise(self.inits)
            ]
            ordered &= all(b > a for a, b in pairwise(means))
            reversed_pairs += [pair for pair in pairs if pair.outcome == WORSE]
            outcomes.append(slope.outcome)
            ranks = ', '.join(
                f'{title_of(table, init)} {column.show(mean)}'
                for init, mean in zip(self.inits, means, strict=True)
            )
            texts.append(f'{column.title}: {ranks}; gain a rank {_without_label(slope)}')
            numbers.append(slope.numbers() | {'means': dict(zip(self.inits, means, strict=True))})
        verdict = joint_verdict(outcomes)
        if verdict == APPEARS and not ordered:
            verdict = UNDECIDED
        if reversed_pairs:
            verdict = ABSENT
        words = 'in the order that is claimed' if ordered else 'not in the order that is claimed'
        return Judgement(verdict, f'The means are {words}. {"; ".join(texts)}.', numbers)

    def _slopes(self, table: SuiteTable, column: TableColumn) -> tuple[Spread, list[float]]:
        """Return the slope of every seed that all have, and the means over these seeds."""
        values = [values_of(table, init, column) for init in self.inits]
        seeds = [seed for seed in values[0] if all(seed in other for other in values)]
        if not seeds:
            raise NotRunError(f'{column.title}: no seed was measured for all of {self.inits}')
        centre = (len(values) - 1) / 2
        weight = sum((rank - centre) ** 2 for rank in range(len(values)))
        slopes = [
            sum((rank - centre) * value[seed] for rank, value in enumerate(values)) / weight
            for seed in seeds
        ]
        means = [sum(value[seed] for seed in seeds) / len(seeds) for value in values]
        return Spread(tuple(slopes)), means


def describe(
    found: Sequence[Comparison], subject: str, confidence: float, margin: float = 0.0
) -> str:
    """Return a sentence on comparisons with the same subject; '' for none."""
    if not found:
        return ''
    seeds = sorted({len(comparison.differences.values) for comparison in found})
    count = str(seeds[0]) if len(seeds) == 1 else f'{seeds[0]} to {seeds[-1]}'
    if seeds == [1]:
        basis = 'one seed, from which nothing can be said of chance'
    else:
        basis = f'mean of {count} seeds [{confidence:.0%} interval]'
    outcomes = [comparison.outcome for comparison in found]
    tally = ', '.join(f'{kind} in {outcomes.count(kind)}' for kind in (BETTER, UNCLEAR, WORSE))
    level = f', a loss of {margin:g} counting as level' if margin else ''
    parts = '; '.join(map(str, found))
    pairs = [value for comparison in found for value in comparison.differences.values]
    ahead = f' Ahead in {sum(value > 0 for value in pairs)} of {len(pairs)} pairs.'
    shown = ahead if len(found) > 1 else ''
    return f'{subject}, {basis}: {parts}. Of {len(found)}: {tally}{level}.{shown}'


def columns_of(table: SuiteTable, tasks: Sequence[TaskName] | None) -> list[TableColumn]:
    """Return the figures that a finding is about, one a task."""
    if tasks is None:
        tasks = list(dict.fromkeys(column.task for column in table.columns))
    return [
        find_column(table, task)
        if isinstance(task, str)
        else find_column(table, task['task'], task['metric'])
        for task in tasks
    ]


def check_tasks(tasks: Sequence[TaskName] | None, known: Known, where: str) -> None:
    """Check the tasks of a finding.

    Raises:
        UserError: If one, or its metric, is unknown.
    """
    if tasks is None:
        return
    if isinstance(tasks, (str, Mapping)) or not tasks:
        raise UserError(f'{where}.tasks must be a list of tasks; leave it out for all')
    for task in tasks:
        if isinstance(task, str):
            known.require_task(task, None, where)
        elif isinstance(task, Mapping) and set(task) == {'task', 'metric'}:
            known.require_task(task['task'], task['metric'], where)
        else:
            raise UserError(f'{where}.tasks: {task!r} is neither a name nor dict(task=, metric=)')


def check_number(value: Any, low: float, high: float, where: str) -> None:
    """Check a number.

    Raises:
        UserError: If it is none, or not in [low, high).
    """
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < high
    if not ok:
        raise UserError(f'{where} must be a number from {low} to below {high}, got {value!r}')


def title_of(table: SuiteTable, init: str) -> str:
    """Return an initialisation's title."""
    return table.inits.get(init, init)


def _joined(table: SuiteTable, inits: Sequence[str]) -> str:
    return ' and '.join(title_of(table, init) for init in inits)


def _and(words: Sequence[str]) -> str:
    return '; '.join(dict.fromkeys(words))


def _without_label(comparison: Comparison) -> str:
    return str(comparison).removeprefix(f'{comparison.label} ')
