"""The rule by which seeds decide: paired differences and their t interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightvit_dense.suite.runs import Spread, paired

from .tables import SuiteTable, TableColumn

APPEARS, ABSENT, UNDECIDED, NOT_RUN = 'appears', 'does not appear', 'undecided', 'not run'
VERDICTS = (APPEARS, ABSENT, UNDECIDED, NOT_RUN)
BETTER, WORSE, UNCLEAR = 'better', 'worse', 'unclear'
CONFIDENCE = 0.95


class NotRunError(Exception):
    """What a finding needs has not been measured; says what."""


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided t interval of the mean of normal samples.

    It is wide for few samples: at 95%, the mean ± 2.48 deviations of three, ± 1.24 of five. One
    sample says nothing, its interval is without end.

    Args:
        values: The samples.
        confidence: Share of such intervals that hold the true mean, in (0, 1).
    """
    from scipy.special import stdtrit

    spread, count = Spread(tuple(values)), len(values)
    if spread.deviation is None:
        return -math.inf, math.inf
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * spread.deviation / math.sqrt(count)
    return spread.mean - half, spread.mean + half


@dataclass(frozen=True)
class Comparison:
    """One initialisation against another on one figure, seed by seed.

    Attributes:
        label: What is compared.
        column: The figure.
        differences: One a seed that both have, in the column's scale; positive favours the first.
        confidence: Of the interval.
        margin: How much worse still counts as level.
    """

    label: str
    column: TableColumn
    differences: Spread
    confidence: float = CONFIDENCE
    margin: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The t interval of the mean difference."""
        return t_interval(self.differences.values, self.confidence)

    @property
    def outcome(self) -> str:
        """``better`` or ``worse`` if the whole interval is beyond ``-margin``; else ``unclear``."""
        low, high = self.interval
        if low > -self.margin:
            return BETTER
        return WORSE if high < -self.margin else UNCLEAR

    def __str__(self) -> str:
        show, values = self.column.show, self.differences.values
        text = f'{self.label} {show(self.differences.mean, signed=True)}'
        if len(values) > 1:
            low, high = self.interval
            text += f' [{show(low, signed=True)}, {show(high, signed=True)}]'
        ahead = sum(value > 0 for value in values)
        return f'{text}, ahead in {ahead} of {len(values)}'

    def numbers(self) -> dict[str, object]:
        """Return everything as plain data; the interval of one seed is None."""
        several = len(self.differences.values) > 1
        return {
            'label': self.label,
            'task': self.column.task,
            'metric': self.column.metric,
            'values': list(self.differences.values),
            'mean': self.differences.mean,
            'deviation': self.differences.deviation,
            'interval': list(self.interval) if several else None,
            'outcome': self.outcome,
        }


def find_column(table: SuiteTable, task: str, metric: str | None = None) -> TableColumn:
    """Return a task's figure, its leading one if none is named.

    Raises:
        NotRunError: If the table has no such figure.
    """
    for column in table.columns:
        if column.task == task and metric in (None, column.metric):
            return column
    raise NotRunError(f'the results have no {metric or "figure"} of {task}')


def values_of(table: SuiteTable, init: str, column: TableColumn) -> dict[int, float]:
    """Return the figure of each measured seed.

    Raises:
        NotRunError: If there is none.
    """
    if init not in table.inits:
        raise NotRunError(f'the results have no {init}')
    cell = table.cell(init, column)
    if not cell.values:
        state = 'failed' if cell.failed else cell.state
        raise NotRunError(f'{column.title} of {table.inits[init]}: {state}')
    return dict(cell.values)


def compare(
    table: SuiteTable,
    init: str,
    base: str,
    column: TableColumn,
    confidence: float = CONFIDENCE,
    margin: float = 0.0,
    label: str | None = None,
) -> Comparison:
    """Compare two initialisations on a figure over the seeds that both have.

    Raises:
        NotRunError: If either has none, or if they share none.
    """
    ours, theirs = values_of(table, init, column), values_of(table, base, column)
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        both = f'{table.inits[init]} and {table.inits[base]}'
        raise NotRunError(f'{column.title}: {both} share no measured seed')
    spread = paired([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    return Comparison(label or column.title, column, spread, confidence, margin)


def joint_verdict(outcomes: Sequence[str]) -> str:
    """Return the verdict of several comparisons of one statement.

    It appears if at least one is better and none is worse, does not appear if it is the other
    way round, and is undecided else.
    """
    better, worse = BETTER in outcomes, WORSE in outcomes
    if better == worse:
        return UNDECIDED
    return APPEARS if better else ABSENT
