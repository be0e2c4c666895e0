"""What a suite's table says, in sentences that follow from the numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .tables import FAILED, MEASURED, SuiteTable, TableColumn


def progress(results: Mapping[str, Any]) -> str:
    """Say how many runs are measured, failed and open."""
    states = [cell['state'] for cell in results['cells']]
    parts = [f'{states.count(MEASURED)} of {len(states)} cells measured']
    for state in ('running', FAILED, 'not run'):
        if state in states:
            parts.append(f'{states.count(state)} {state}')
    return ', '.join(parts)


def verdict(table: SuiteTable) -> str:
    """Say which initialisation leads, and how often by more than the spread of seeds.

    A lead is clear if it exceeds the larger sample deviation of the two best initialisations.
    """
    ranked = [(column, ranking(table, column)) for column in table.columns]
    ranked = [(column, order) for column, order in ranked if len(order) > 1]
    if not ranked:
        return 'No figure has been measured from two initialisations yet: nothing can be compared.'
    leads: dict[str, int] = {}
    clear = 0
    for column, order in ranked:
        first, second = (table.cell(init, column) for init in order[:2])
        leaders = [init for init in order if table.cell(init, column).best]
        for init in leaders:
            leads[init] = leads.get(init, 0) + 1
        clear += len(leaders) == 1 and is_clear(first.spread, second.spread)
    words = [
        f'{table.inits[init]} in {count}'
        for init, count in sorted(leads.items(), key=lambda item: -item[1])
    ]
    total = 'the only figure' if len(ranked) == 1 else f'the {len(ranked)} figures'
    tied = ', ties counted for each' if sum(leads.values()) > len(ranked) else ''
    return (
        f'Best in {total} of at least two initialisations: {", ".join(words)}{tied}. '
        f'The lead exceeds the deviation between seeds in {clear}.'
    )


def ranking(table: SuiteTable, column: TableColumn) -> list[str]:
    """Return the measured initialisations of a column, the best first."""
    means = {
        init: cell.spread.mean
        for init in table.inits
        if (cell := table.cell(init, column)).spread is not None
    }
    return sorted(means, key=lambda init: -means[init])


def is_clear(first: Any, second: Any) -> bool:
    """Return whether a lead exceeds the larger deviation; False if neither has one."""
    deviations = [s.deviation for s in (first, second) if s.deviation is not None]
    return bool(deviations) and first.mean - second.mean > max(deviations)


def beside_papers(table: SuiteTable) -> str | None:
    """Say how far our figures are from the papers'; None if no cell has both."""
    found = [
        (cell.difference, table.inits[init], column)
        for init in table.inits
        for column in table.columns
        if (cell := table.cell(init, column)).difference is not None
    ]
    if not found:
        return None
    gap, title, column = max(found, key=lambda item: abs(item[0]))
    mean = sum(gap for gap, *_ in found) / len(found)
    if len(found) == 1:
        return f'Measured minus paper: {column.show(gap, signed=True)} ({title}, {column.title}).'
    return (
        f'Measured minus paper over {len(found)} figures: {column.show(mean, signed=True)} in the '
        f'mean, {column.show(gap, signed=True)} at most ({title}, {column.title}).'
    )


def caveats(results: Mapping[str, Any], table: SuiteTable) -> list[str]:
    """Return what a reader must know to judge the figures."""
    found = []
    measured = [cell for cell in table.cells.values() if cell.spread is not None]
    counts = sorted({len(cell.values) for cell in measured})
    if counts and counts[0] == 1:
        found.append(
            'Some figures come from one seed: the spread between seeds is unknown there, and a '
            'small difference can come from chance alone.'
        )
    several = [count for count in counts if count > 1]
    if several:
        # Standard error of a normal sample's deviation, relative to it.
        error = 1 / math.sqrt(2 * (several[0] - 1))
        found.append(
            f'Deviations are those of samples of {_range(several)} seeds, and are themselves '
            f'uncertain by up to about {error:.0%}.'
        )
    if any(pretrain['state'] == MEASURED for pretrain in results.get('pretrains', ())):
        found.append(
            'Each pre-training ran once. Seeds vary what follows, so that the spread between '
            'pre-trainings is not in the deviations.'
        )
    if any(cell.paper is not None for cell in table.cells.values()):
        found.append('The papers print one figure a cell and no deviation.')
    return found


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f'{counts[0]} to {counts[-1]}'
