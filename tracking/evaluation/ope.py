"""One-pass evaluation: overlaps and errors of the centre of all frames, counted at thresholds.

Wu et al., Online Object Tracking: A Benchmark (2013); Müller et al., TrackingNet (2018), for the
normalised error; Fan et al., LaSOT (2019).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightvit_dense.errors import UserError

from .rules import Rules
from .truth import Truth, prepare

FIGURES = ('success', 'OP50', 'OP75', 'precision', 'norm_precision', 'norm_precision_mean')
CENTRE_THRESHOLDS = np.arange(51, dtype=np.float64)
NORM_THRESHOLDS = np.arange(51, dtype=np.float64) / 100


@dataclass(frozen=True, eq=False)
class Scores:
    """What a tracker reaches on S sequences; every rate is in 0..1.

    Attributes:
        truths: The annotations, S.
        rules: By which it was judged.
        success: Rate of frames whose overlap is above each threshold, [S, overlap_bins].
        precision: Rate of frames whose centre is within 0, 1, .. 50 pixels, [S, 51].
        norm_precision: Rate of frames whose normalised error is within 0, .01, .. .5, [S, 51].
        overlap: Mean overlap over the frames with a true box [S]; NaN if there is none.
        frames: Numbers of frames that the rates are divided by [S].
    """

    truths: tuple[Truth, ...]
    rules: Rules
    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray
    overlap: np.ndarray
    frames: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences."""
        return tuple(truth.name for truth in self.truths)

    def figures(self, chosen: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of :data:`FIGURES` in percent, averaged over sequences.

        ``success`` is the area under the curve: its mean over all thresholds. ``norm_precision``
        is the rate at the threshold ``norm_at``, ``norm_precision_mean`` the mean of its curve.

        Args:
            chosen: Which sequences, bool [S] or indices; None for all.
        """
        chosen = np.arange(len(self.truths)) if chosen is None else chosen
        rules = self.rules
        success = self.success[chosen].mean(axis=0)
        places = [round(at * (rules.overlap_bins - 1)) for at in rules.overlap_at]
        norm = self.norm_precision[chosen].mean(axis=0)
        values = (
            success.mean(),
            success[places[0]],
            success[places[1]],
            self.precision[chosen].mean(axis=0)[int(rules.centre_at)],
            norm[round(100 * rules.norm_at)],
            norm.mean(),
        )
        return {name: 100 * float(value) for name, value in zip(FIGURES, values, strict=True)}


def overlap_thresholds(bins: int = 21) -> np.ndarray:
    """Return thresholds of the overlap from 0 to 1 [bins]."""
    return np.arange(bins) * (1 / (bins - 1))


def frame_errors(
    predicted: np.ndarray, true: np.ndarray, pixels: str = 'inclusive'
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare boxes, frame by frame; true ones must have an area.

    Args:
        predicted: x, y, width, height [N, 4].
        true: The same.
        pixels: 'inclusive' or 'continuous'; see :class:`Rules`.

    Returns:
        Overlap (intersection over union), distance of the centres in pixels, and the same with
        both centres divided by the true width and height; [N] each.
    """
    one = 1.0 if pixels == 'inclusive' else 0.0
    low = np.maximum(predicted[:, :2], true[:, :2])
    high = np.minimum(predicted[:, :2] + predicted[:, 2:] - one, true[:, :2] + true[:, 2:] - one)
    shared = np.clip(high - low + one, 0, None).prod(axis=1)
    union = predicted[:, 2:].prod(axis=1) + true[:, 2:].prod(axis=1) - shared
    centre = predicted[:, :2] + 0.5 * (predicted[:, 2:] - one)
    aim = true[:, :2] + 0.5 * (true[:, 2:] - one)
    distance = np.sqrt(((centre - aim) ** 2).sum(axis=1))
    size = true[:, 2:]
    relative = np.sqrt(((centre / size - aim / size) ** 2).sum(axis=1))
    return shared / union, distance, relative


def score(
    predictions: Sequence[np.ndarray],
    truths: Sequence[Truth],
    rules: Rules | None = None,
    place: Callable[[str, int], str] | None = None,
) -> Scores:
    """Judge a tracker on all sequences at once.

    Args:
        predictions: Boxes of each sequence, x, y, width, height [N, 4].
        truths: Annotations of the same sequences.
        rules: By default those of pytracking.
        place: Tells for an error where the box of a sequence and frame is from.

    Raises:
        UserError: If there is no sequence, predictions cannot be used under the rules, or a
            sequence has no frame that counts.
    """
    rules = rules or Rules()
    if not truths:
        raise UserError('there is no sequence to evaluate')
    prepared = []
    for boxes, truth in zip(predictions, truths, strict=True):
        where = None if place is None else (lambda frame, name=truth.name: place(name, frame))
        prepared.append(prepare(boxes, truth, rules, where))
    predicted = np.concatenate(prepared)  # [N, 4] of all frames of all sequences
    true = np.concatenate([truth.boxes for truth in truths])
    present = np.concatenate([truth.present for truth in truths])
    boxed = np.concatenate([truth.has_box(rules) for truth in truths])
    lengths = np.array([len(truth.boxes) for truth in truths])
    owner = np.repeat(np.arange(len(truths)), lengths)
    counted = np.ones(len(owner), bool)
    if rules.first_frame == 'exclude':
        counted[np.cumsum(lengths) - lengths] = False

    valid = present & boxed
    overlap = np.full(len(owner), -1.0)
    distance = np.full(len(owner), np.inf)
    relative = np.full(len(owner), np.inf)
    errors = frame_errors(predicted[valid], true[valid], rules.pixels)
    overlap[valid], distance[valid], relative[valid] = errors
    boxless = present & ~boxed
    if rules.boxless_centre == 'hit':
        distance[boxless] = -1.0
    if rules.boxless_norm == 'hit':
        relative[boxless] = -1.0

    def total(of: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=of, minlength=len(truths))

    judged = valid & counted
    with np.errstate(invalid='ignore', divide='ignore'):
        mean_overlap = total(np.where(judged, overlap, 0)) / total(judged)
    frames = total(judged if rules.exclude_invalid_frames else counted)
    if not frames.all():
        name = truths[int(frames.argmin())].name
        raise UserError(f'{name}: has no frame with a true box that counts; leave it out')
    owner, overlap = owner[counted], overlap[counted]
    grid = overlap_thresholds(rules.overlap_bins)
    # An overlap passes the thresholds below it, an error those from it on.
    above = _passed(owner, np.searchsorted(grid, overlap), len(truths), len(grid))
    success = (above[:, -1:] - above)[:, :-1]
    within = [
        _passed(owner, np.searchsorted(thresholds, values[counted]), len(truths), 51)[:, :-1]
        for thresholds, values in ((CENTRE_THRESHOLDS, distance), (NORM_THRESHOLDS, relative))
    ]
    success, precision, norm = (counts / frames[:, None] for counts in (success, *within))
    whole = frames.astype(np.int64)
    return Scores(tuple(truths), rules, success, precision, norm, mean_overlap, whole)


def _passed(owner: np.ndarray, bins: np.ndarray, sequences: int, thresholds: int) -> np.ndarray:
    """Count for each sequence the frames in bins up to each one, [sequences, thresholds + 1]."""
    width = thresholds + 1
    counts = np.bincount(owner * width + bins, minlength=sequences * width)
    return counts.reshape(sequences, width).cumsum(axis=1)
