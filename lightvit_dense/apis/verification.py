"""Compare metrics with the results that a config expects."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real

from mmengine.config import Config
from mmengine.dist import is_main_process

from lightvit_dense.apis.configs import name_of
from lightvit_dense.errors import UserError

Expected = tuple[str, float, float]


def read_expected(cfg: Config) -> list[Expected]:
    """Return the config's ``expected``: (metric, value, tolerance) triples."""
    rows = cfg.get('expected')
    if not rows:
        raise UserError(
            f'{name_of(cfg)} has no `expected`, so there is nothing to verify. '
            "Add e.g. expected = [('coco/bbox_mAP', 0.423, 0.005)]: metric, value, tolerance."
        )
    for row in rows:
        kinds = (str, Real, Real)
        if len(row) != 3 or not all(map(isinstance, row, kinds)):
            raise UserError(f'expected: {row!r} is not a (metric, value, tolerance) triple')
    return [tuple(row) for row in rows]


def verify(metrics: Mapping[str, float], expected: Sequence[Expected]) -> int:
    """Print measured against expected results; 0 if every value is in its interval, else 1."""
    lines, failed = [f'{"metric":<32} {"measured":>10} {"expected":>10} {"+-":>8}'], False
    for name, value, tolerance in expected:
        if name not in metrics:
            raise UserError(
                f'expected metric {name!r} was not measured '
                f'(measured: {", ".join(sorted(metrics))})'
            )
        measured = float(metrics[name])
        good = isfinite(measured) and abs(measured - value) <= tolerance
        failed |= not good
        numbers = f'{measured:>10.4f} {value:>10.4f} {tolerance:>8.4f}'
        lines.append(f'{name:<32} {numbers} {"ok" if good else "FAILED"}')
    if is_main_process():
        print('\n'.join(lines))
    return int(failed)
