"""What finished training runs measured, and several runs of one kind as mean and deviation."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvit_dense.errors import UserError
from lightvit_dense.utils.logs import find_scalars, read_scalars, series


def last_metric(work_dir: str | Path, key: str = 'accuracy/top1') -> float:
    """Return a metric's last value of a training run.

    Args:
        work_dir: ``--work-dir`` of ``tools/train.py``.
        key: Name of the metric.

    Raises:
        UserError: If the run logged none.
    """
    values = series(read_scalars(find_scalars(work_dir)), key).values
    if not values:
        raise UserError(
            f'{work_dir}: the run logged no {key}. Does its config validate in the end '
            '(train_cfg.val_interval, val_evaluator)?'
        )
    return values[-1]


@dataclass(frozen=True)
class Spread:
    """Several measurements of the same thing.

    Attributes:
        values: One a run.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the runs."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (n - 1); None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if self.deviation is None:
            return f'{self.mean:.1f}'
        return f'{self.mean:.1f} ± {self.deviation:.1f}'


def paired(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Return the differences of runs that share seed and data, pair by pair.

    Raises:
        ValueError: If there are not as many of either.
    """
    return Spread(tuple(a - b for a, b in zip(values, base, strict=True)))
