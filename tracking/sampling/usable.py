"""Which sequences of a set can be trained on, and how often each set is drawn."""

from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from tracking.datasets.base import SequenceSet


def check_ratios(ratios: Sequence[float] | None, count: int) -> np.ndarray:
    """Return the probability of each of ``count`` sets, float64 [count]; equal ones for None."""
    if not count:
        raise UserError("PairDataset needs at least one set, such as dict(type='tracking.LaSOT')")
    weights = np.ones(count) if ratios is None else np.asarray(ratios, np.float64)
    if weights.shape != (count,) or not np.isfinite(weights).all() or weights.min() <= 0:
        raise UserError(
            f'PairDataset has {count} set(s) and ratios={ratios}; give one positive number a set, '
            'and leave out the sets that are not wanted'
        )
    return weights / weights.sum()


def usable_sequences(sequences: SequenceSet, min_visible: int, min_frames: int) -> np.ndarray:
    """Return the indices of sequences of which pairs can be drawn; the log counts the others.

    Of a video enough frames must show the target, and it must be long enough. OSTrack asks for more
    than 4 visible frames and 20 in all. Of an image the one target must be there.
    """
    counts = np.asarray(sequences.visible_counts)
    if sequences.is_video:
        enough = (counts >= min_visible) & (np.asarray(sequences.lengths) >= min_frames)
        rule = f'{min_visible} frames with a visible target among {min_frames} or more'
    else:
        enough, rule = counts >= 1, 'a target with an area'
    usable = np.flatnonzero(enough)
    if not usable.size:
        raise DatasetError(
            f'{sequences.name}: none of its {len(sequences)} sequences has {rule}, so there are no '
            'pairs to train on. Check the annotations, or lower min_visible and min_frames of '
            'tracking.PairDataset'
        )
    left_out = len(sequences) - usable.size
    text = f'PairDataset {sequences.name}: {usable.size} of {len(sequences)} sequences'
    why = f'; {left_out} are left out, for lack of {rule}' if left_out else ''
    print_log(text + why, 'current')
    return usable
