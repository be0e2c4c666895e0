"""What a tracker is judged by, and predictions put in order for it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError

from ..datasets.sequence import VideoSequence
from ..datasets.text import has_area
from .protocol import Protocol


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotation of a sequence, without its pictures."""

    name: str
    boxes: np.ndarray  # float64 [T, 4]; not finite or without area where there is none
    present: np.ndarray  # bool [T], where it does not say that the target is absent
    class_name: str = ''
    attributes: tuple[str, ...] = ()

    @classmethod
    def of(cls, sequence: VideoSequence) -> 'Truth':
        """Take the annotation of a sequence; that of a part, or no first box, is an error.

        Where it tells why its target is gone, these flags say where it is absent, and so do boxes
        that are not numbers; else it is absent wherever it is not visible.
        """
        boxes = np.asarray(sequence.boxes, np.float64)
        if len(boxes) != len(sequence):
            raise DatasetError(
                f'{sequence.dataset or "the data set"}: {sequence.name} has {len(boxes)} annotated '
                f'of {len(sequence)} frames, so a tracker cannot be judged by it. Where the truth '
                'is kept back, write result files and send them to the server of the benchmark.'
            )
        if not has_area(boxes[:1]).all():
            raise DatasetError(
                f'{sequence.dataset or "the data set"}: the first box of {sequence.name} is '
                f'{boxes[0].tolist()}, which cannot initialise a tracker. Correct the first line '
                'of its boxes, or start the sequence at the first frame with the target.'
            )
        gone = list(sequence.gone.values())
        present = ~np.logical_or.reduce(gone) if gone else np.asarray(sequence.visible, bool)
        present = present & ~np.isnan(boxes).any(axis=1)
        return cls(sequence.name, boxes, present, sequence.class_name, tuple(sequence.attributes))

    def has_box(self, protocol: Protocol) -> np.ndarray:
        """Return where there is a box to compare with, bool [T]."""
        with np.errstate(invalid='ignore'):
            positive = self.boxes > 0
        needed = positive if protocol.positive_corner else positive[:, 2:]
        return needed.all(axis=1) & np.isfinite(self.boxes).all(axis=1)


def prepare(
    boxes: np.ndarray,
    truth: Truth,
    protocol: Protocol,
    place: Callable[[str, int], str] | None = None,
) -> np.ndarray:
    """Bring predictions [N, 4] to float64 [T, 4] by the protocol; ``place`` is for errors."""

    def where(frame: int) -> str:
        return place(truth.name, frame) if place else f'{truth.name}, frame {frame}'

    boxes = np.array(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f'{where(0)}: boxes of shape {boxes.shape}, expected [frames, 4]')
    length = len(truth.boxes)
    invalid = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if protocol.invalid == 'error' and invalid.any():
        frame = int(invalid.argmax())
        raise UserError(
            f'{where(frame)}: {boxes[frame].tolist()} is no box: its numbers must be finite and '
            "its size not negative (protocol invalid='previous' takes the box before it instead)"
        )
    if len(boxes) > length and protocol.longer == 'error':
        raise UserError(f'{where(length)}: {len(boxes)} predictions for {length} annotated frames')
    if len(boxes) < length and (protocol.shorter == 'error' or not len(boxes)):
        raise UserError(
            f'{where(len(boxes))}: {len(boxes)} predictions for {length} annotated frames; run the '
            'tracker on the whole sequence'
        )
    boxes, invalid = boxes[:length], invalid[:length]
    odd = invalid
    if protocol.zero_size == 'previous':
        odd = odd | (boxes[:, 2:] == 0).any(axis=1)
    # Toolkits leave a prediction alone where the truth is not a number.
    odd = odd & ~np.isnan(truth.boxes[: len(boxes)]).any(axis=1)
    odd[:1] = False
    kept = np.maximum.accumulate(np.where(odd, 0, np.arange(len(boxes))))
    if invalid[kept[1:] if protocol.first_frame == 'truth' else kept].any():
        raise UserError(
            f'{where(0)}: {boxes[0].tolist()} is no box, and there is none before it to take '
            'instead'
        )
    boxes = np.pad(boxes[kept], ((0, length - len(boxes)), (0, 0)))
    if protocol.first_frame == 'truth':
        boxes[0] = truth.boxes[0]
    return boxes
