"""GOT-10k's average overlap and success rates.

Huang et al., GOT-10k (2019), and the authors' toolkit (``got10k/experiments/got10k.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lightvit_dense.errors import UserError, require_known

from ..boxes import iou
from ..datasets.sequence import VideoSequence
from .protocol import Protocol
from .truth import Truth, prepare

AVERAGES = ('frames', 'sequences', 'classes')
FIGURES = ('AO', 'SR50', 'SR75')
THRESHOLDS = np.linspace(0, 1, 101)
# Predictions as they are: no box is replaced, and lengths must agree.
_PROTOCOL = Protocol(first_frame='prediction', longer='error', zero_size='keep')


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Overlaps of a tracker's boxes with the true ones, over S sequences.

    Figures are means of ``average``: 'frames': all frames of all sequences, as in the toolkit;
    'sequences': the means of sequences; 'classes': the means of classes of the means of their
    sequences, the paper's class-balanced mAO and mSR.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[np.ndarray, ...]  # of the frames that count
    average: str = 'frames'

    def __post_init__(self) -> None:
        require_known(self.average, AVERAGES, 'average')
        counts = [len(values) for values in self.values]
        if not sum(counts) or (self.average != 'frames' and not all(counts)):
            name = self.names[int(np.argmin(counts))] if counts else 'the data'
            raise UserError(f'{name}: has no frame that counts; leave it out')
        if self.average == 'classes' and not all(self.classes):
            name = self.names[self.classes.index('')]
            raise UserError(f"average='classes': the class of {name} is not known")

    def figures(self) -> dict[str, float]:
        """Return ``AO``, ``SR50`` and ``SR75`` in percent."""
        weights, overlap = self._weights(), np.concatenate(self.values)
        means = (weights @ values for values in (overlap, overlap > 0.5, overlap > 0.75))
        return {name: 100 * float(mean) for name, mean in zip(FIGURES, means, strict=True)}

    def curve(
        self, kind: str = 'success', chosen: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return :data:`THRESHOLDS`, the percentage of frames above each, and the AO."""
        # An overlap passes all thresholds that are less than it.
        passed = np.searchsorted(THRESHOLDS, np.concatenate(self.values))
        counts = np.bincount(passed, minlength=len(THRESHOLDS) + 1)
        rates = (len(passed) - counts.cumsum()[:-1]) / len(passed)
        return THRESHOLDS, 100 * rates, self.figures()['AO']

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return a row of figures for each sequence; there are none for other kinds."""
        rows = []
        for name, of, values in zip(self.names, self.classes, self.values, strict=True):
            row = {'sequence': name, 'class': of, 'frames': len(values)}
            one = Overlaps((name,), (of,), (values,)).figures() if len(values) else {}
            rows.append({**row, **dict.fromkeys(FIGURES), **one})
        return rows if kind == 'sequence' else []

    def describe(self) -> dict[str, Any]:
        """Gather figures, curve and rows as plain data."""
        thresholds, rates, _ = self.curve()
        return {
            'figures': self.figures(),
            'average': self.average,
            'curves': {'thresholds': thresholds.tolist(), 'success': rates.tolist()},
            'sequences': self.rows('sequence'),
        }

    def _weights(self) -> np.ndarray:
        """Return the weight of each frame in a mean [N]."""
        counts = np.array([len(values) for values in self.values])
        if self.average == 'frames':
            return np.full(counts.sum(), 1 / counts.sum())
        part = np.full(len(counts), 1 / len(counts))
        if self.average == 'classes':
            kinds, place, sizes = np.unique(self.classes, return_inverse=True, return_counts=True)
            part = 1 / (len(kinds) * sizes[place])
        return np.repeat(part / counts, counts)


def clip_to_frame(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip boxes [N, 4] to a frame of (height, width) as the toolkit does, the corner first."""
    corner = np.clip(boxes[:, :2], 0, size[::-1])
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0, size[::-1] - corner)], axis=1)


def overlaps(
    predictions: Sequence[np.ndarray],
    truths: Sequence[Truth],
    sizes: Sequence[tuple[int, int] | None],
    average: str = 'frames',
) -> Overlaps:
    """Compare boxes with true ones but the first; frames are clipped to ``sizes`` (h, w)."""
    found: dict[str, list[np.ndarray]] = {}
    classes: dict[str, str] = {}
    for boxes, truth, size in zip(predictions, truths, sizes, strict=True):
        predicted, true = prepare(boxes, truth, _PROTOCOL), truth.boxes
        if size is not None:
            predicted, true = clip_to_frame(predicted, size), clip_to_frame(true, size)
        values = iou(predicted[1:], true[1:])[truth.present[1:]]
        found.setdefault(truth.name, []).append(values)
        classes[truth.name] = truth.class_name
    joined = tuple(np.concatenate(values) for values in found.values())
    return Overlaps(tuple(found), tuple(classes.values()), joined, average)


def truth_of(sequence: VideoSequence) -> Truth:
    """Take a truth, absent where ``cover.label`` is 0, as the toolkit does."""
    truth = Truth.of(sequence)
    if 'no_cover' not in sequence.gone:
        return truth
    return replace(truth, present=~np.asarray(sequence.gone['no_cover'], bool))


def frame_size(sequence: VideoSequence) -> tuple[int, int]:
    """Return height and width of a sequence's frames, from its first one."""
    height, width = sequence.frames.read(0).shape[:2]
    return height, width
