"""Checks of tracking data sets before hours are spent on them, for check_dataset.py."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from lightvit_dense.datasets.checking import CHECKS, SPLITS, Report, Request
from lightvit_dense.datasets.errors import DatasetError

from .custom import CustomSequences
from .got10k import GOT10k
from .lasot import LaSOT
from .listed import NFS, OTB, UAV123
from .tnl2k import TNL2K
from .trackingnet import TrackingNet
from .videos import BadSequences, VideoSet

SETS: dict[str, tuple[Callable[[str, str], VideoSet], dict[str, int | None]]] = {
    'lasot': (LaSOT, {'train': 1120, 'test': 280}),
    'got10k': (GOT10k, {'train': 9335, 'val': 180, 'test': 180}),
    'trackingnet': (TrackingNet, {'train': 30132, 'test': 511}),
    'otb': (OTB, {'test': 100}),
    'uav123': (UAV123, {'test': 123}),
    'nfs': (NFS, {'test': 100}),
    'tnl2k': (TNL2K, {'test': 700}),
    'custom': (lambda root, _: CustomSequences(root), {'all': None}),
}
"""How a split is opened, and the published number of sequences by split, if any."""


def check_tracking(
    name: str,
    root: str,
    request: Request,
    origin: str = '',
    sequences: Mapping[str, int | None] | None = None,
) -> Report:
    """Check annotations and frames; ``sequences`` are the numbers expected by split."""
    report = Report(name, root, request, origin)
    open_split, published = SETS[name]
    for split, expected in (published if sequences is None else sequences).items():
        if request.wants(split):
            _check_split(report, split, expected, partial(open_split, root))
    return report


def _check_split(
    report: Report, split: str, expected: int | None, open_split: Callable[[str], VideoSet]
) -> None:
    part = f'sequences of {split}'
    try:
        # The whole training part of GOT-10k, not the trackers' share of it.
        data = open_split('train_full' if (split, report.name) == ('train', 'got10k') else split)
    except BadSequences as error:
        what = f'{len(error.problems)} of {error.total} {part}'
        report.count(part, error.total - len(error.problems), expected)
        report.damaged(what, error.problems, report.remedy or 'Unpack them again.')
        return
    except DatasetError as error:
        report.count(part, 0, expected)
        advice = report.remedy or 'Or leave the split out by --splits.'
        report.missing(str(error).rstrip('.'), remedy=advice)
        return
    ends = np.cumsum(data.lengths)

    def try_one(place: int) -> None:
        at = int(np.searchsorted(ends, place, side='right'))
        data.frames(at).read(place - int(ends[at]))  # from the end

    places = range(int(ends[-1]))
    opened = report.open_some(places, try_one, f'frames of {split}', data.ORIGIN)
    report.count(part, len(data), expected)
    report.count(f'frames of {split}', len(places), None, opened)
    gone = 1 - data.visible_counts.sum() / len(data.table.arrays['visible'])
    report.note(f'{split}: the target is not visible in {100 * gone:.1f} % of annotated frames')


for _name in SETS:
    CHECKS[_name] = partial(check_tracking, _name)
    SPLITS[_name] = tuple(SETS[_name][1])
