"""One pass of a tracker over an annotated sequence."""

import time
from collections.abc import Callable

import numpy as np
from torch import nn

from lightvit_dense.errors import UserError

from ..datasets.sequence import VideoSequence
from .tracker import Tracker


def track_sequence(
    tracker: Tracker | nn.Module,
    sequence: VideoSequence,
    on_frame: Callable[[int], object] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the target of a sequence from its first box on; nothing else of the truth is seen.

    Args:
        tracker: A tracker, or the model to make one of.
        sequence: The sequence; only its first frame needs a box.
        on_frame: Called with the number of frames done, after each.

    Returns:
        Boxes float64 [T, 4], the first that of the truth; scores [T], the first 1; and seconds
        [T] that the tracker took, without reading and decoding the frame.

    Raises:
        UserError: Naming the sequence and the frame that cannot be read or begun with.
    """
    if not isinstance(tracker, Tracker):
        tracker = Tracker.from_model(tracker)
    count = len(sequence)
    if not count:
        raise UserError(f'sequence {sequence.name} has no frames')
    boxes = np.empty((count, 4))
    scores, seconds = np.ones(count), np.empty(count)
    boxes[0] = sequence.boxes[0]
    for index in range(count):
        try:
            frame = sequence.frames.read(index)
            began = time.perf_counter()
            if index == 0:
                tracker.init(frame, boxes[0])
            else:
                result = tracker.update(frame)
                boxes[index], scores[index] = result.box, result.score
            seconds[index] = time.perf_counter() - began
        except UserError as error:
            raise UserError(f'sequence {sequence.name}, frame {index}: {error}') from error
        if on_frame is not None:
            on_frame(index + 1)
    return boxes, scores, seconds
