"""GOT-10k's average overlap and success rates.

Huang et al., GOT-10k (2019), and the authors' toolkit (``got10k/experiments/got10k.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lightvit_dense.errors import UserError
from tracking.boxes import iou
from tracking.datasets.sequence import VideoSequence
from tracking.registry import METRICS
from tracking.runtime.results import write_result

from .rules import Rules
from .truth import Truth, prepare

AVERAGES = ('frames', 'sequences', 'classes')
THRESHOLDS = np.linspace(0, 1, 101)
# Predictions as they are: no box is replaced, and lengths must agree.
_RULES = Rules(first_frame='prediction', longer='error', zero_size='keep')


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Overlaps of a tracker's boxes with the true ones.

    Attributes:
        names: Of the sequences, S.
        classes: Classes of their targets, S.
        values: Overlaps in the frames that count, S arrays.
        average: What figures are means of: 'frames': all frames of all sequences, as in the
            toolkit; 'sequences': the means of sequences; 'classes': the means of classes of the
            means of their sequences, the paper's class-balanced mAO and mSR.

    Raises:
        UserError: If ``average`` is unknown, there are no frames that count, or a class is needed
            and not known.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    average: str = 'frames'

    def __post_init__(self) -> None:
        check_average(self.average)
        counts = [len(values) for values in self.values]
        if not sum(counts) or (self.average != 'frames' and not all(counts)):
            name = self.names[int(np.argmin(counts))] if counts else 'the data'
            raise UserError(f'{name}: has no frame that counts; leave it out')
        if self.average == 'classes' and not all(self.classes):
            name = self.names[self.classes.index('')]
            raise UserError(f"average='classes': the class of {name} is not known")

    def figures(self) -> dict[str, float]:
        """Return ``AO``, ``SR50`` and ``SR75`` in percent."""
        weights = self._weights()
        overlap = np.concatenate(self.values)
        return {
            'AO': 100 * float(weights @ overlap),
            'SR50': 100 * float(weights @ (overlap > 0.5)),
            'SR75': 100 * float(weights @ (overlap > 0.75)),
        }

    def curve(self) -> np.ndarray:
        """Return the share of frames above each of :data:`THRESHOLDS` [101]."""
        # An overlap passes all thresholds that are less than it.
        passed = np.searchsorted(THRESHOLDS, np.concatenate(self.values))
        counts = np.bincount(passed, minlength=len(THRESHOLDS) + 1)
        return (len(passed) - counts.cumsum()[:-1]) / len(passed)

    def table(self) -> list[dict[str, Any]]:
        """Return a row of figures for each sequence."""
        rows = []
        for name, of, values in zip(self.names, self.classes, self.values, strict=True):
            row = {'sequence': name, 'class': of, 'frames': len(values)}
            empty = dict.fromkeys(('AO', 'SR50', 'SR75'))
            one = Overlaps((name,), (of,), (values,)).figures() if len(values) else empty
            rows.append({**row, **one})
        return rows

    def _weights(self) -> np.ndarray:
        """Return the weight of each frame in a mean [N]."""
        counts = np.array([len(values) for values in self.values])
        if self.average == 'frames':
            return np.full(counts.sum(), 1 / counts.sum())
        share = np.full(len(counts), 1 / len(counts))
        if self.average == 'classes':
            kinds, place, sizes = np.unique(self.classes, return_inverse=True, return_counts=True)
            share = 1 / (len(kinds) * sizes[place])
        return np.repeat(share / counts, counts)


def check_average(average: str) -> None:
    """Check that a way of averaging is known.

    Raises:
        UserError: If it is not.
    """
    if average not in AVERAGES:
        raise UserError(f'average={average!r}: must be one of {", ".join(AVERAGES)}')


def clip_to_frame(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip boxes as the toolkit does.

    The corner is moved into the frame without making the box smaller; only then what reaches beyond
    the right and lower border is cut.

    Args:
        boxes: x, y, width, height [N, 4].
        size: Height and width of the frame.
    """
    whole = np.array([size[1], size[0]], np.float64)
    corner = np.clip(boxes[:, :2], 0, whole)
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0, whole - corner)], axis=1)


def overlaps(
    predictions: Sequence[np.ndarray],
    truths: Sequence[Truth],
    sizes: Sequence[tuple[int, int] | None],
    average: str = 'frames',
) -> Overlaps:
    """Compare a tracker's boxes with the true ones, but for first frames and absent targets.

    Args:
        predictions: Boxes of each sequence [T, 4]. A sequence may be there several times, once a
            repetition; their frames count together.
        truths: Annotations of the same sequences.
        sizes: Height and width of the frames, to which boxes are clipped; None clips nothing.
        average: What figures are means of; see :class:`Overlaps`.

    Raises:
        UserError: If a prediction is no box, or of another length than the annotation.
    """
    found: dict[str, list[np.ndarray]] = {}
    classes: dict[str, str] = {}
    for boxes, truth, size in zip(predictions, truths, sizes, strict=True):
        predicted, true = prepare(boxes, truth, _RULES), truth.boxes
        if size is not None:
            predicted, true = clip_to_frame(predicted, size), clip_to_frame(true, size)
        values = iou(predicted[1:], true[1:])[truth.present[1:]]
        found.setdefault(truth.name, []).append(values)
        classes[truth.name] = truth.class_name
    joined = tuple(np.concatenate(values) for values in found.values())
    return Overlaps(tuple(found), tuple(classes.values()), joined, average)


def truth_of(sequence: VideoSequence) -> Truth:
    """Take the annotation of a sequence.

    A target counts as absent where GOT-10k's ``cover.label`` is 0, as in the toolkit, which does
    not look at ``absence.label``; in other sets, as in :meth:`Truth.of`.
    """
    truth = Truth.of(sequence)
    if 'no_cover' not in sequence.gone:
        return truth
    return replace(truth, present=~np.asarray(sequence.gone['no_cover'], bool))


@METRICS.register_module()
class GOT10kMetric(BaseMetric):
    """Average overlap ``AO`` and success rates ``SR50`` and ``SR75`` in percent, as GOT-10k's.

    The first frame and frames with an absent target do not count, and boxes are clipped to the
    frame. Its validation set has annotations; for its test set write files for the server.

    Args:
        average: 'frames', 'sequences' or 'classes'; see :class:`Overlaps`.
        clip: Whether boxes are clipped to the frame, for which one is decoded.
        out_dir: Folder that receives the files that GOT-10k's server takes, below a folder
            ``tracker_name``; None writes none.
        tracker_name: Name of that folder.
        format_only: Whether only files are written, for sets without annotations.
        collect_device: Where results of several processes meet, 'cpu' or 'gpu'.
        prefix: Put before the names of the figures.

    Raises:
        UserError: If ``average`` is unknown, or ``format_only`` lacks ``out_dir``.
    """

    default_prefix = ''

    def __init__(
        self,
        average: str = 'frames',
        clip: bool = True,
        out_dir: str | None = None,
        tracker_name: str = 'tracker',
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        check_average(average)
        if format_only and out_dir is None:
            raise UserError('format_only needs out_dir to know where to write')
        self.average, self.clip, self.format_only = average, clip, format_only
        self.out_dir = None if out_dir is None else Path(out_dir) / tracker_name

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what was tracked, and write it if files are wanted.

        Args:
            data_batch: Unused.
            data_samples: Dicts with 'sequence', 'boxes' [T, 4] and perhaps 'seconds' [T].
        """
        for sample in data_samples:
            sequence, boxes = sample['sequence'], np.asarray(sample['boxes'], np.float64)
            if self.out_dir is not None:
                write_result(self.out_dir, sequence.name, boxes, sample.get('seconds'), 'got10k')
            if self.format_only:
                self.results.append(None)
                continue
            self.results.append((truth_of(sequence), boxes, frame_size(sequence, self.clip)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures.

        Args:
            results: What :meth:`process` kept, of all processes.
        """
        if self.out_dir is not None:
            print_log(f'The boxes of all frames are in {self.out_dir}', logger='current')
        if self.format_only:
            return {}
        unique = {result[0].name: result for result in results}
        truths, predictions, sizes = zip(*unique.values(), strict=True)
        return overlaps(predictions, truths, sizes, self.average).figures()


def frame_size(sequence: VideoSequence, clip: bool = True) -> tuple[int, int] | None:
    """Return height and width of a sequence's frames, from its first one; None not to clip."""
    if not clip:
        return None
    height, width = sequence.frames.read(0).shape[:2]
    return height, width
