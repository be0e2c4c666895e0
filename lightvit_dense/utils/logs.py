"""Logs of training runs: curves by name, and where the time went."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.visualization.curves import Series, find_scalars, read_scalars, series


def find_logs(path: str | Path) -> list[Path]:
    """Return the logs of a run, oldest first.

    Args:
        path: A work directory, or one ``scalars.json``.

    Raises:
        UserError: If there are none.
    """
    if Path(path).is_file():
        return [Path(path)]
    files = find_scalars(path)
    if not files:
        raise UserError(f'{path}: no vis_data/scalars.json below it; give a work directory')
    return files


def read_log(path: str | Path) -> list[dict]:
    """Read the records of one file.

    Raises:
        UserError: If it is no log.
    """
    try:
        return read_scalars(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f'{error}; give the vis_data/scalars.json of a run') from error


def is_training(record: Mapping) -> bool:
    """Tell the records of training from those of validation, which have times of their own."""
    return 'lr' in record


def find_key(records: Sequence[Mapping], key: str, origin: str) -> str:
    """Find a scalar by its name, or by the end of it behind a slash.

    Args:
        records: The records.
        key: 'coco/bbox_mAP', or 'bbox_mAP' as mmdet's tool calls it.
        origin: What messages call the records.

    Raises:
        UserError: If there is none, or more than one.
    """
    known = {name for record in records for name in record}
    if key in known:
        return key
    ends = sorted(name for name in known if name.rpartition('/')[2] == key)
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UserError(f'{origin}: {key!r} may be {" or ".join(ends)}; write it in full')
    hint = did_you_mean(key, [*known, *(name.rpartition('/')[2] for name in known)])
    raise UserError(f'{origin}: has no scalar {key!r}.{hint} There are {", ".join(sorted(known))}')


def collect_curves(path: str | Path, keys: Sequence[str]) -> list[Series]:
    """Read curves of a run.

    Args:
        path: Work directory or ``scalars.json``.
        keys: Names of scalars, see :func:`find_key`; those of training and validation alike but
            for 'time' and 'data_time', which are training's.

    Returns:
        One curve a key; its name is the scalar's.
    """
    records = [record for file in find_logs(path) for record in read_log(file)]
    found = []
    for key in keys:
        name = find_key(records, key, str(path))
        timed = name in ('time', 'data_time')
        found.append(series([r for r in records if is_training(r) or not timed], name))
    return found


@dataclass(frozen=True)
class TrainingTime:
    """Where the time of a training went; intervals between two records are weighted alike.

    Attributes:
        iterations: Iterations done.
        mean: Seconds an iteration.
        deviation: Standard deviation over the intervals, 0 for one.
        fastest: Least mean of an interval, and the iteration at its end.
        slowest: The same of the slowest.
        data_share: Share of the time that was spent waiting for data.
        starts: How often the run was started.
    """

    iterations: int
    mean: float
    deviation: float
    fastest: tuple[float, int]
    slowest: tuple[float, int]
    data_share: float
    starts: int

    @property
    def hours(self) -> float:
        """Hours that the iterations took, validation and saving left out."""
        return self.iterations * self.mean / 3600


def training_time(path: str | Path, include_outliers: bool = False) -> TrainingTime:
    """Summarise the times that a run has logged.

    Args:
        path: Work directory or ``scalars.json``.
        include_outliers: Whether the first interval after every start counts, in which caches are
            cold and code is compiled.

    Raises:
        UserError: If the run has logged no times, or one interval a start only.
    """
    files = find_logs(path)
    kept: list[Mapping] = []
    steps = [0]
    for file in files:
        records = [r for r in read_log(file) if is_training(r) and 'time' in r]
        steps += [int(record['step']) for record in records]
        kept += records if include_outliers else records[1:]
    if not kept:
        raise UserError(
            f'{path}: no more than one interval was logged after a start. Count the first with '
            '--include-outliers, or log more often (default_hooks.logger.interval).'
        )
    times = [(float(record['time']), int(record['step'])) for record in kept]
    seconds = [time for time, _ in times]
    waiting = sum(float(record.get('data_time', 0.0)) for record in kept)
    return TrainingTime(
        iterations=max(steps),
        mean=statistics.fmean(seconds),
        deviation=statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
        fastest=min(times),
        slowest=max(times),
        data_share=waiting / sum(seconds) if sum(seconds) else 0.0,
        starts=len(files),
    )
