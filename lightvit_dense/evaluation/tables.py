"""Tables of the figures of every class."""

from typing import Any

from .joint import JointEvaluator


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
