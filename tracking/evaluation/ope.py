"""One-pass evaluation: overlaps and errors of the centre of all frames, counted at thresholds.

Wu et al., Online Object Tracking: A Benchmark (2013); Müller et al., TrackingNet (2018), for the
normalised error; Fan et al., LaSOT (2019).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lightvit_dense.errors import UserError

from ..datasets.lasot import LaSOT
from .protocol import Protocol
from .truth import Truth, prepare

FIGURES = ('success', 'OP50', 'OP75', 'precision', 'norm_precision', 'norm_precision_mean')
CURVES = ('success', 'precision', 'norm_precision')
OVERLAP_THRESHOLDS = np.arange(21) * (1 / 20)
CENTRE_THRESHOLDS = np.arange(51, dtype=np.float64)
NORM_THRESHOLDS = np.arange(51, dtype=np.float64) / 100

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a tracker reaches on S sequences; every rate is in 0..1."""

    truths: tuple[Truth, ...]
    protocol: Protocol
    success: np.ndarray  # frames whose overlap is above 0, .05, .. 1 [S, 21]
    precision: np.ndarray  # frames whose centre is within 0, 1, .. 50 pixels [S, 51]
    norm_precision: np.ndarray  # frames whose normalised error is within 0, .01, .. .5 [S, 51]
    overlap: np.ndarray  # mean over the frames with a true box [S]; NaN if there is none
    frames: np.ndarray  # what the rates are divided by [S]

    def figures(self, chosen: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of :data:`FIGURES` in percent, averaged over sequences.

        ``success`` is the area under the curve: its mean over all thresholds. ``precision`` is the
        rate at 20 pixels, ``norm_precision`` that at .2 and ``norm_precision_mean`` the mean of its
        curve. ``chosen``: bool [S] or indices.
        """
        chosen = np.arange(len(self.truths)) if chosen is None else chosen
        success, precision, norm = (getattr(self, kind)[chosen].mean(axis=0) for kind in CURVES)
        values = success.mean(), success[10], success[15], precision[20], norm[20], norm.mean()
        return {name: 100 * float(value) for name, value in zip(FIGURES, values, strict=True)}

    def curve(
        self, kind: str, chosen: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the thresholds of one of ``CURVES``, its mean in percent, and its figure."""
        grids = (OVERLAP_THRESHOLDS, CENTRE_THRESHOLDS, NORM_THRESHOLDS)
        rates = getattr(self, kind)[slice(None) if chosen is None else chosen]
        return grids[CURVES.index(kind)], 100 * rates.mean(axis=0), self.figures(chosen)[kind]

    def rows(self, kind: str) -> Rows:
        """Return figures in percent for each 'sequence', 'class' or 'attribute', in order."""
        if kind == 'sequence':
            return [
                {
                    'sequence': truth.name,
                    'class': truth.class_name,
                    'frames': int(frames),
                    **self.figures(np.array([place])),
                    'overlap': None if np.isnan(overlap) else 100 * float(overlap),
                }
                for place, (truth, frames, overlap) in enumerate(
                    zip(self.truths, self.frames, self.overlap, strict=True)
                )
            ]
        marks = [(t.class_name,) if kind == 'class' else t.attributes for t in self.truths]
        found = {name for names in marks for name in names if name}
        known = [name for name in LaSOT.ATTRIBUTES if name in found]
        rows = []
        for name in (*known, *sorted(found - set(known))):
            chosen = np.array([name in names for names in marks])
            rows.append({kind: name, 'sequences': int(chosen.sum()), **self.figures(chosen)})
        return rows

    def describe(self) -> dict[str, Any]:
        """Gather figures, curves in percent, and all tables as plain data."""
        return {
            'figures': self.figures(),
            'protocol': asdict(self.protocol),
            'curves': {kind: self.curve(kind)[1].tolist() for kind in CURVES},
            'sequences': self.rows('sequence'),
            'classes': self.rows('class'),
            'attributes': self.rows('attribute'),
        }


def frame_errors(
    predicted: np.ndarray, true: np.ndarray, pixels: str = 'inclusive'
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare boxes [N, 4], frame by frame; true ones must have an area.

    Returns overlap (intersection over union), distance of the centres in pixels, and the same with
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
    protocol: Protocol | None = None,
    place: Callable[[str, int], str] | None = None,
) -> Scores:
    """Judge boxes [N, 4] of each sequence; ``place`` tells for an error where one is from."""
    protocol = protocol or Protocol()
    if not truths:
        raise UserError('there is no sequence to evaluate')
    pairs = zip(predictions, truths, strict=True)
    predicted = np.concatenate([prepare(boxes, truth, protocol, place) for boxes, truth in pairs])
    overlap, distance, relative, valid = _judge(predicted, truths, protocol)
    lengths = np.array([len(truth.boxes) for truth in truths])
    owner = np.repeat(np.arange(len(truths)), lengths)
    counted = np.ones(len(owner), bool)
    if protocol.first_frame == 'exclude':
        counted[np.cumsum(lengths) - lengths] = False

    def total(of: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=of, minlength=len(truths))

    judged = valid & counted
    with np.errstate(invalid='ignore', divide='ignore'):
        mean_overlap = total(np.where(judged, overlap, 0)) / total(judged)
    frames = total(judged if protocol.exclude_invalid_frames else counted)
    if not frames.all():
        name = truths[int(frames.argmin())].name
        raise UserError(f'{name}: has no frame with a true box that counts; leave it out')

    def passed(thresholds: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Count the frames of each sequence with a value up to each threshold, and all [S, T+1]."""
        width = len(thresholds) + 1
        bins = owner[counted] * width + np.searchsorted(thresholds, values[counted])
        counts = np.bincount(bins, minlength=len(truths) * width)
        return counts.reshape(-1, width).cumsum(axis=1)

    # An overlap passes the thresholds below it, an error those from it on.
    below = passed(OVERLAP_THRESHOLDS, overlap)
    counts = [
        below[:, -1:] - below,
        passed(CENTRE_THRESHOLDS, distance),
        passed(NORM_THRESHOLDS, relative),
    ]
    success, precision, norm = (count[:, :-1] / frames[:, None] for count in counts)
    whole = frames.astype(np.int64)
    return Scores(tuple(truths), protocol, success, precision, norm, mean_overlap, whole)


def _judge(
    predicted: np.ndarray, truths: Sequence[Truth], protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return overlap, distance, normalised distance and validity of all frames [N]."""
    true = np.concatenate([truth.boxes for truth in truths])
    present = np.concatenate([truth.present for truth in truths])
    boxed = np.concatenate([truth.has_box(protocol) for truth in truths])
    valid, boxless = present & boxed, present & ~boxed
    overlap = np.full(len(true), -1.0)
    distance, relative = np.full(len(true), np.inf), np.full(len(true), np.inf)
    errors = frame_errors(predicted[valid], true[valid], protocol.pixels)
    overlap[valid], distance[valid], relative[valid] = errors
    if protocol.boxless_centre == 'hit':
        distance[boxless] = -1.0
    if protocol.boxless_norm == 'hit':
        relative[boxless] = -1.0
    return overlap, distance, relative, valid
