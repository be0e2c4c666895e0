"""Do the papers' findings appear? Statements as plain data, judged by what was measured.

A suite file lists ``findings``: dicts with a ``type`` of :data:`TYPES` and its arguments. Seeds
decide by t intervals of paired differences; figures of analyses, which come from one pre-training,
by a margin. What is missing or failed makes a finding *not run*.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightvit_dense.errors import UserError, require_known

from .analysis_figures import Figure, NotRunError
from .results import FAILED, Results
from .table import MINUS, Column, Table, mean_std

APPEARS, ABSENT, UNDECIDED, NOT_RUN = 'appears', 'does not appear', 'undecided', 'not run'
BETTER, WORSE, UNCLEAR = 'better', 'worse', 'unclear'


class Known(NamedTuple):
    """Names that a finding may use; of a task with the keys of its figures."""

    inits: Sequence[str]
    tasks: Mapping[str, Sequence[str]]
    analyses: Mapping[str, Any]


Judged = tuple[str, list[dict[str, Any]]]  # a verdict and the comparisons it comes from


class _Finding(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)

    title: str
    source: str = ''


class _SeedFinding(_Finding):
    # By name or dict(task=, metric=); all by default.
    tasks: list[str | dict[str, str]] | None = Field(None, min_length=1)
    confidence: float = Field(0.95, gt=0, lt=1)  # of the intervals

    def _check(self, inits: Sequence[str], known: Known, where: str) -> None:
        for init in inits:
            require_known(init, known.inits, f'{where}: initialisation')
        for task in self.tasks or ():
            named = {'task': task} if isinstance(task, str) else task
            if not {'task'} <= set(named) <= {'task', 'metric'}:
                wanted = 'neither a name nor dict(task=, metric=)'
                raise UserError(f'{where}.tasks: {task!r} is {wanted}')
            require_known(named['task'], known.tasks, f'{where}.tasks')
            if 'metric' in named:
                metrics = known.tasks[named['task']]
                require_known(named['metric'], metrics, f'{where}.tasks: metric of {named["task"]}')


class AtLeast(_SeedFinding):
    """An initialisation is at least as good as another one.

    For each task the differences are taken seed by seed, and their t interval says whether the
    initialisation is better, worse, or neither. The finding *appears* if it is better on at least
    one task and worse on none, *does not appear* if it is worse on at least one and better on
    none, and is *undecided* else; always so with one seed.
    """

    type: Literal['at_least'] = 'at_least'
    init: str  # what is said to be as good or better
    base: str | list[str]  # the other initialisation, or several
    margin: float = Field(0.0, ge=0)  # in the tables' unit: a loss up to this counts as level

    @property
    def bases(self) -> list[str]:
        """The other initialisations."""
        return [self.base] if isinstance(self.base, str) else self.base

    def check(self, known: Known, where: str) -> None:
        """Raise UserError if it names what is unknown."""
        if self.init in self.bases:
            raise UserError(f'{where} compares {self.init!r} with itself')
        self._check([self.init, *self.bases], known, where)

    def judge(self, results: Results, table: Table, root: Path) -> Judged:
        """Return verdict and comparisons; raise NotRunError if something is missing."""
        found = []
        for column in _columns(table, self.tasks):
            for base in self.bases:
                for init in (self.init, base):
                    _values(table, init, column)
                label = f'{column.title}: {table.inits[self.init]} {MINUS} {table.inits[base]}'
                values = table.differences(self.init, base, column).values()
                found.append(_comparison(label, column, values, self.confidence, self.margin))
        return _verdict([comparison['outcome'] for comparison in found]), found


class Ordering(_SeedFinding):
    """Initialisations rank in a given order.

    For each task, the slope of the figure over the rank is taken seed by seed. The finding
    *appears* if the means are in the given order on every task and the t interval of the slope is
    above zero on at least one and below on none; it *does not appear* if a slope is below zero on
    at least one task and above on none, or if two neighbours are clearly the other way round; it
    is *undecided* else.
    """

    type: Literal['ordering'] = 'ordering'
    inits: list[str] = Field(min_length=2)  # the worst first

    def check(self, known: Known, where: str) -> None:
        """Raise UserError if it names what is unknown."""
        if len(set(self.inits)) != len(self.inits):
            raise UserError(f'{where}.inits must be a list of different initialisations')
        self._check(self.inits, known, where)

    def judge(self, results: Results, table: Table, root: Path) -> Judged:
        """Return verdict and comparisons; raise NotRunError if something is missing."""
        found, ordered, reversed_pair = [], True, False
        for column in _columns(table, self.tasks):
            known = [_values(table, init, column) for init in self.inits]
            seeds = [seed for seed in known[0] if all(seed in other for other in known)]
            values = np.array([[figures[seed] for seed in seeds] for figures in known])
            slopes = np.polyfit(range(len(known)), values, 1)[0] if seeds else ()
            comparison = _comparison(
                f'{column.title}: gain a rank', column, map(float, slopes), self.confidence
            )
            means = values.mean(1).tolist()
            found.append(comparison | {'means': dict(zip(self.inits, means, strict=True))})
            ordered &= all(low < high for low, high in pairwise(means))
            for low, high in pairwise(self.inits):
                gains = table.differences(high, low, column).values()
                outcome = _comparison('', column, gains, self.confidence)['outcome']
                reversed_pair |= outcome == WORSE
        verdict = _verdict([comparison['outcome'] for comparison in found])
        if verdict == APPEARS and not ordered:
            verdict = UNDECIDED
        return (ABSENT if reversed_pair else verdict), found


class CompareAnalysis(_Finding):
    """A number out of an analysis is below, or above, others or a given value.

    A comparison holds if the difference has the claimed sign and exceeds the margin, and is
    reversed if it has the other sign and exceeds it. The finding *appears* if all comparisons
    hold, *does not appear* if none holds and one is reversed, and is *undecided* else.
    """

    type: Literal['compare_analysis'] = 'compare_analysis'
    left: Figure
    # Fields of a figure, where what is left out is as on the left; or a number; or a list.
    right: float | dict[str, Any] | list[float | dict[str, Any]]
    relation: Literal['<', '>'] = '<'
    margin: float = Field(0.0, ge=0)  # largest difference that is still called level
    relative: bool = False  # whether the margin is a share of the right figure

    def _others(self, where: str = 'finding') -> list[float | Figure]:
        given = self.right if isinstance(self.right, list) else [self.right]
        left = self.left.model_dump()
        return [
            build(Figure, left | other, f'{where}.right') if isinstance(other, dict) else other
            for other in given
        ]

    def check(self, known: Known, where: str) -> None:
        """Raise UserError if it names what is unknown."""
        self.left.check(known.analyses, f'{where}.left')
        for other in self._others(where):
            if isinstance(other, Figure):
                other.check(known.analyses, f'{where}.right')

    def judge(self, results: Results, table: Table, root: Path) -> Judged:
        """Return verdict and comparisons; raise NotRunError if something is missing."""
        ours = self.left.read(results, root)
        label, found = self.left.label(results), []
        for other in self._others():
            if isinstance(other, Figure):
                theirs = other.read(results, root)
                against = other.label(results)
            else:
                theirs, against = other, 'a given value'
            gain = ours - theirs if self.relation == '>' else theirs - ours
            level = self.margin * (abs(theirs) if self.relative else 1)
            outcome = 'holds' if gain > level else 'reversed' if gain < -level else 'level'
            numbers = dict(values=[ours, theirs], difference=ours - theirs, margin=level)
            found.append(dict(label=f'{label}, against {against}', outcome=outcome, **numbers))
        outcomes = {comparison['outcome'] for comparison in found}
        if outcomes == {'holds'}:
            return APPEARS, found
        return (ABSENT if 'reversed' in outcomes and 'holds' not in outcomes else UNDECIDED), found


Finding = AtLeast | Ordering | CompareAnalysis
TYPES = {'at_least': AtLeast, 'ordering': Ordering, 'compare_analysis': CompareAnalysis}
"""Types of findings by name; their docstrings have rules and arguments."""


def build(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Build a pydantic model from plain data; a UserError names the place of a mistake."""
    for key in values:
        require_known(key, kind.model_fields, f'{where}: key')
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = '.'.join([where, *map(str, first['loc'])])
        raise UserError(f'{place}: {first["msg"]}, got {first["input"]!r}') from error


def build_finding(values: Mapping[str, Any], where: str = 'finding') -> Finding:
    """Build a finding from plain data; a UserError names the place of a mistake."""
    if not isinstance(values, Mapping) or 'type' not in values:
        raise UserError(f'{where} must be a dict with a type; there are {", ".join(TYPES)}')
    require_known(values['type'], TYPES, f'{where}.type')
    finding: Finding = build(TYPES[values['type']], values, where)
    return finding


def check_findings(
    findings: Iterable[Mapping[str, Any]],
    inits: Iterable[str],
    tasks: Mapping[str, Any],
    analyses: Mapping[str, Any],
) -> None:
    """Raise UserError if a finding of a suite file is malformed or names what is unknown."""
    metrics = {name: [metric.key for metric in task.metrics] for name, task in tasks.items()}
    known = Known(tuple(inits), metrics, analyses)
    for place, values in enumerate(findings):
        where = f'findings[{place}]'
        build_finding(values, where).check(known, where)


def judge_findings(
    findings: Sequence[Mapping[str, Any]], results: Results, table: Table, root: str | Path = '.'
) -> list[dict[str, Any]]:
    """Judge the findings of a suite file; 'reason' says why one is not run."""
    found = []
    for place, values in enumerate(findings):
        finding = build_finding(values, f'findings[{place}]')
        verdict, reason, comparisons = NOT_RUN, '', list[dict[str, Any]]()
        try:
            if results.smoke:
                raise NotRunError('a smoke run, whose numbers mean nothing')
            verdict, comparisons = finding.judge(results, table, Path(root))
        except NotRunError as error:
            reason = str(error)
        about = dict(type=finding.type, title=finding.title, source=finding.source)
        found.append(about | dict(verdict=verdict, reason=reason, comparisons=comparisons))
    return found


def t_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return the two-sided t interval of the mean; that of one sample has no end."""
    from scipy.special import stdtrit

    (mean, std), count = mean_std(values), len(values)
    if mean is None or std is None:
        return -math.inf, math.inf
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * std / math.sqrt(count)
    return mean - half, mean + half


def _comparison(
    label: str, column: Column, values: Iterable[float], confidence: float, margin: float = 0.0
) -> dict[str, Any]:
    """Return differences, one a seed, with their interval: better if all of it is above -margin."""
    values = list(values)
    if not values:
        raise NotRunError(f'{column.title}: no seed was measured for all that are compared')
    mean, std = mean_std(values)
    low, high = t_interval(values, confidence)
    outcome = BETTER if low > -margin else WORSE if high < -margin else UNCLEAR
    numbers = dict(values=values, mean=mean, std=std, outcome=outcome, confidence=confidence)
    interval = None if std is None else [low, high]
    return dict(label=label, task=column.task, metric=column.metric, interval=interval, **numbers)


def _verdict(outcomes: Sequence[str]) -> str:
    """Return the verdict of several comparisons of one statement."""
    if (BETTER in outcomes) == (WORSE in outcomes):
        return UNDECIDED
    return APPEARS if BETTER in outcomes else ABSENT


def _columns(table: Table, tasks: Sequence[str | Mapping[str, str]] | None) -> list[Column]:
    """Return the figures that a finding is about: a task's leading one, if none is named."""
    if tasks is None:
        tasks = list(dict.fromkeys(column.task for column in table.columns))
    found = []
    for task in tasks:
        named = {'task': task} if isinstance(task, str) else task
        fitting = [c for c in table.columns if named.items() <= vars(c).items()]
        if not fitting:
            raise NotRunError(f'the results have no figure {dict(named)}')
        found.append(fitting[0])
    return found


def _values(table: Table, init: str, column: Column) -> Mapping[int, float]:
    """Return the figure of each measured seed."""
    if init not in table.inits:
        raise NotRunError(f'the results have no {init}')
    cell = table.cell(init, column)
    if not cell.values:
        state = FAILED if cell.failed else cell.state
        raise NotRunError(f'{column.title} of {table.inits[init]}: {state}')
    return cell.values
