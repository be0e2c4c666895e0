"""Which sequences of a set can be trained on, and how often each set is drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError


def check_ratios(ratios: Sequence[float] | None, count: int) -> np.ndarray:
    """Return the probability of each set.

    Args:
        ratios: How often each is drawn, relative to the others; None for equally often.
        count: Number of sets.

    Returns:
        float64 [count], of sum 1.

    Raises:
        UserError: If there is no set, or the ratios are not one positive number a set.
    """
    if not count:
        raise UserError("PairDataset needs at least one set, such as dict(type='tracking.LaSOT')")
    shares = np.ones(count) if ratios is None else np.asarray(ratios, np.float64)
    if shares.shape != (count,) or not np.isfinite(shares).all() or shares.min() <= 0:
        raise UserError(
            f'PairDataset has {count} set(s) and ratios={ratios}; give one positive number a set, '
            'and leave out the sets that are not wanted'
        )
    return shares / shares.sum()


def usable_sequences(sequences: Any, min_visible: int, min_frames: int) -> np.ndarray:
    """Return the sequences of which pairs can be drawn; the others are counted in the log.

    Of a video enough frames must show the target, and it must be long enough. OSTrack asks for more
    than 4 visible frames and 20 in all. Of an image the one target must be there.

    Args:
        sequences: The set.
        min_visible: Least number of visible frames of a video.
        min_frames: Least number of frames of a video.

    Returns:
        Indices, int [n].

    Raises:
        DatasetError: If none is left.
    """
    counts = visible_counts(sequences)
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
    if left_out:
        print_log(
            f'PairDataset {sequences.name}: {left_out} of {len(sequences)} sequences are left '
            f'out, for lack of {rule}',
            'current',
        )
    return usable


def visible_counts(sequences: Any) -> np.ndarray:
    """Return how many frames of each sequence show the target, int [number of sequences].

    A set with a method ``visible_counts`` of its own answers at once.
    """
    if hasattr(sequences, 'visible_counts'):
        return np.asarray(sequences.visible_counts())
    places = range(len(sequences))
    return np.array([np.count_nonzero(sequences.visible(place)) for place in places], np.int64)
