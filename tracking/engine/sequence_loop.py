"""One pass of a tracker over annotated sequences: by itself, and as the loop of a test."""

import time
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import UserError

from ..datasets.frames import read_ahead
from ..datasets.sequence import VideoSequence
from ..registry import LOOPS
from ..runtime import Tracker
from ..runtime.results import check_names


def track_sequence(
    tracker: Tracker, sequence: VideoSequence, workers: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the target of a sequence from its first box on; nothing else of the truth is seen.

    An error names the sequence and the frame that cannot be read or begun with. ``workers`` threads
    decode frames ahead.

    Returns:
        Boxes float64 [T, 4], the first that of the truth; scores [T], the first 1; and seconds [T]
        that the tracker took, without reading and decoding the frame.
    """
    count = len(sequence)
    if not count:
        raise UserError(f'sequence {sequence.name} has no frames')
    boxes = np.empty((count, 4))
    scores, seconds = np.ones(count), np.empty(count)
    boxes[0] = sequence.boxes[0]
    frames = read_ahead(sequence.frames, workers)
    for index in range(count):
        try:
            frame = next(frames)
            began = time.perf_counter()
            if index == 0:
                tracker.init(frame, boxes[0])
            else:
                result = tracker.update(frame)
                boxes[index], scores[index] = result.box, result.score
            seconds[index] = time.perf_counter() - began
        except UserError as error:
            raise UserError(f'sequence {sequence.name}, frame {index}: {error}') from error
    return boxes, scores, seconds


class _SequenceLoop:
    """What the loops of test and validation share; one tracker, made once weights are in place."""

    phase: ClassVar[str]
    runner: Any
    evaluator: Any
    dataloader: Any
    fp16: bool
    _tracker: Any = None

    def __init__(self, *args: Any, decode_workers: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decode_workers = decode_workers

    def run(self) -> dict:
        """Track all sequences and return the metrics."""
        names = getattr(self.dataloader.dataset, 'all_names', ())
        for metric in self.evaluator.metrics:
            if getattr(metric, 'out_dir', None) is not None and hasattr(metric, 'layout'):
                check_names(names, metric.layout)
        try:
            return super().run()  # type: ignore[misc]
        finally:
            self._tracker = None

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Track the sequences of a batch; samples get ``boxes``, ``scores`` and ``seconds``."""
        batch = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{self.phase}_iter', **batch)
        samples = data_batch['data_samples']
        for sample in samples:
            if 'sequence' not in sample:
                raise UserError(
                    f'tracking.{type(self).__name__} tracks whole sequences: its data come from a '
                    'tracking.SequenceDataset'
                )
            with autocast(enabled=self.fp16):
                if self._tracker is None:
                    model = unwrap(self.runner.model)
                    # What stands for a model may track by itself.
                    self._tracker = model if hasattr(model, 'update') else Tracker(model)
                found = track_sequence(self._tracker, sample.sequence, self.decode_workers)
            sample.boxes, sample.scores, sample.seconds = found
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook(f'after_{self.phase}_iter', **batch, outputs=samples)


@LOOPS.register_module()
class SequenceTestLoop(_SequenceLoop, TestLoop):
    """mmengine's test loop over whole sequences; ``decode_workers`` threads decode ahead."""

    phase: ClassVar[str] = 'test'


@LOOPS.register_module()
class SequenceValLoop(_SequenceLoop, ValLoop):
    """The same as a validation during training, in place of ``mmengine.ValLoop``."""

    phase: ClassVar[str] = 'val'
