"""Tables of the figures of every class."""

from collections.abc import Mapping, Sequence
from typing import Any

from .joint import JointEvaluator


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], digits: int = 2) -> str:
    """Set rows in columns, the first to the left, the others to the right.

    Args:
        rows: Values by column; an absent one is left blank.
        columns: The columns in order.
        digits: Decimals of numbers that are no integers.
    """

    def text(value: Any) -> str:
        return f'{value:.{digits}f}' if isinstance(value, float) else str(value)

    cells = [list(columns), *([text(row.get(name, '')) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = []
    for line in cells:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append('  '.join([first, *others]).rstrip())
    return '\n'.join(lines)


def class_tables(evaluator: Any) -> dict[str, list[dict]]:
    """Collect the tables of the classes that metrics have made.

    Args:
        evaluator: An evaluator after its evaluation.

    Returns:
        Rows by the name of the metric's class, behind the name of the extra test if it is one.
    """
    if isinstance(evaluator, JointEvaluator):
        tables = class_tables(evaluator.main)
        for name, extra in evaluator.extras.items():
            tables |= {f'{name}/{key}': rows for key, rows in class_tables(extra).items()}
        return tables
    found = [(type(metric).__name__, metric) for metric in evaluator.metrics]
    return {name: metric.class_table for name, metric in found if hasattr(metric, 'class_table')}
