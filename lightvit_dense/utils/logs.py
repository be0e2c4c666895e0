"""Logs of training runs: scalars by name, and where the time went."""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvit_dense.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Series:
    """One named curve."""

    name: str
    steps: tuple[float, ...]  # ascending
    values: tuple[float, ...]  # one a step


def find_scalars(work_dir: str | Path) -> list[Path]:
    """Return the ``scalars.json`` files of a work directory, one a start, the oldest first."""
    return sorted(Path(work_dir).glob('*/vis_data/scalars.json'))


def find_logs(path: str | Path) -> list[Path]:
    """Return the logs of a work directory, or one ``scalars.json`` itself; refuse none."""
    files = [Path(path)] if Path(path).is_file() else find_scalars(path)
    if not files:
        raise UserError(
            f'{path}: no vis_data/scalars.json below it; give a work directory of a run that has '
            'logged something'
        )
    return files


def read_scalars(paths: str | Path | Iterable[str | Path]) -> list[dict]:
    """Read JSON lines in order; a last one cut short is dropped, others are a UserError."""
    records: list[dict] = []
    for file in [paths] if isinstance(paths, (str, Path)) else paths:
        lines = Path(file).read_text(encoding='utf-8', errors='replace').splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError('not an object')
            except ValueError as error:
                if number == len(lines):
                    break
                raise UserError(
                    f'{file}, line {number}: not a JSON record ({error}); give the '
                    'vis_data/scalars.json of a run'
                ) from error
            records.append(record)
    return records


def series(records: Sequence[Mapping], key: str, name: str | None = None) -> Series:
    """Pick one scalar; of a step logged twice the later counts, what is no number is left out."""
    points: dict[float, float] = {}
    for record in records:
        value, step = record.get(key), record.get('step')
        if isinstance(value, (int, float)) and isinstance(step, (int, float)) and value == value:
            points[step] = float(value)
    steps = sorted(points)
    return Series(name or key, tuple(steps), tuple(points[step] for step in steps))


def keys_matching(records: Sequence[Mapping], pattern: str) -> list[str]:
    """Return the scalar names in which a regular expression is found, layer_10 behind layer_9."""

    def order(key: str) -> tuple[str, int]:
        head, _, tail = key.rpartition('_')
        return (head, int(tail)) if tail.isdigit() else (key, 0)

    names = {key for record in records for key in record if re.search(pattern, key)}
    return sorted(names, key=order)


def find_keys(records: Sequence[Mapping], key: str, origin: str) -> list[str]:
    """Find scalars by name, by its end behind a slash, or else by a regular expression.

    mmdet's tool says 'bbox_mAP' for 'coco/bbox_mAP'. Raises UserError if there is none, or several
    have that end; calls the records ``origin``.
    """
    known = {name for record in records for name in record}
    if key in known:
        return [key]
    ends = sorted(name for name in known if name.rpartition('/')[2] == key)
    if len(ends) > 1:
        raise UserError(f'{origin}: {key!r} may be {" or ".join(ends)}; write it in full')
    try:
        if found := ends or keys_matching(records, key):
            return found
    except re.error as error:
        raise UserError(f'{key!r} is neither a scalar nor a regular expression: {error}') from error
    hint = did_you_mean(key, [*known, *(name.rpartition('/')[2] for name in known)])
    raise UserError(f'{origin}: has no scalar {key!r}.{hint} There are {", ".join(sorted(known))}')


def collect_curves(path: str | Path, keys: Sequence[str]) -> list[Series]:
    """Read curves of a run, see :func:`find_keys`; times are those of training."""
    records = read_scalars(find_logs(path))
    training = [record for record in records if 'lr' in record]
    names = [name for key in keys for name in find_keys(records, key, str(path))]
    return [series(training if name in ('time', 'data_time') else records, name) for name in names]


@dataclass(frozen=True)
class TrainingTime:
    """Where the time of a training went; intervals between two records are weighted alike."""

    iterations: int
    mean: float  # seconds an iteration
    std: float  # over the intervals, 0 for one
    fastest: tuple[float, int]  # least mean of an interval, and the iteration at its end
    slowest: tuple[float, int]
    data_ratio: float  # of the time that was spent waiting for data
    starts: int  # how often the run was started

    @property
    def hours(self) -> float:
        """Hours that the iterations took, validation and saving left out."""
        return self.iterations * self.mean / 3600


def training_time(path: str | Path, include_outliers: bool = False) -> TrainingTime:
    """Summarise the times logged in a work directory or ``scalars.json``; a UserError without any.

    ``include_outliers`` counts the first interval after every start, with cold caches and
    compiling.
    """
    files = find_logs(path)
    kept: list[Mapping] = []
    steps = [0]
    for file in files:
        # Records of validation have times of their own, but no learning rate.
        records = [r for r in read_scalars(file) if {'lr', 'time'} <= r.keys()]
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
        std=statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
        fastest=min(times),
        slowest=max(times),
        data_ratio=waiting / sum(seconds) if sum(seconds) else 0.0,
        starts=len(files),
    )
