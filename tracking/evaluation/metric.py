"""Metrics of whole sequences in a test loop, and of pairs of crops during training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lightvit_dense.errors import UserError, require_known
from lightvit_dense.utils.finite import require_finite
from lightvit_dense.utils.tables import format_table

from ..boxes import iou
from ..registry import METRICS
from ..runtime.results import write_result
from .got10k import AVERAGES, frame_size, overlaps, truth_of
from .ope import FIGURES, Rows, score
from .protocol import choose_protocol
from .truth import Truth


class SequenceMetric(BaseMetric):
    """Collects what was tracked, and writes it to files if they are wanted.

    Args:
        out_dir: Folder that receives boxes, times and scores of each sequence as text files, below
            a folder ``tracker_name``; None writes none.
        tracker_name: Name of that folder.
        prefix: Prefix of the names of the figures.
    """

    default_prefix = ''
    layout: str
    # What is kept of a sequence, its boxes and seconds; the annotation comes first.
    entry: Callable[[Any, np.ndarray, Any], tuple]

    def __init__(
        self, out_dir: str | None = None, tracker_name: str = 'tracker', prefix: str | None = None
    ) -> None:
        super().__init__(prefix=prefix)
        self.out_dir = None if out_dir is None else Path(out_dir) / tracker_name

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the 'boxes' [T, 4] of a 'sequence', perhaps its 'seconds' and 'scores' [T]."""
        for sample in data_samples:
            sequence, boxes = sample['sequence'], np.asarray(sample['boxes'], np.float64)
            seconds = sample.get('seconds')
            if self.out_dir is not None:
                more = (seconds, self.layout, sample.get('scores'))
                write_result(self.out_dir, sequence.name, boxes, *more)
            self.results.append(self.entry(sequence, boxes, seconds))

    def columns(self, results: list[tuple]) -> tuple[tuple, ...]:
        """Say where files are; return what is kept of all sequences, each of them once."""
        if self.out_dir is not None:
            print_log(f'The boxes of all frames are in {self.out_dir}', logger='current')
        # In one order, whatever the number of processes; samplers may have shown one twice.
        unique = {result[0].name: result for result in sorted(results, key=lambda r: r[0].name)}
        return tuple(zip(*unique.values(), strict=True))


@METRICS.register_module()
class OnePassEvaluation(SequenceMetric):
    """Success, precision and normalised precision of a tracker that runs through whole sequences.

    In percent, averaged over sequences: ``success`` (the area under the curve), ``OP50``, ``OP75``,
    ``precision`` (at 20 pixels), ``norm_precision`` (at .2), ``norm_precision_mean`` (over the
    curve). ``class_table`` and ``attribute_table`` have a row for each class and attribute on the
    main process.

    Args:
        toolkit: Whose protocol to follow: 'pytracking' or 'matlab', LaSOT's own.
        protocol: What differs from it; see :class:`tracking.evaluation.protocol.Protocol`.
        layout: 'lasot' or 'got10k', of the files.
        **kwargs: Arguments of :class:`SequenceMetric`.
    """

    def __init__(
        self,
        toolkit: str = 'pytracking',
        protocol: Mapping[str, Any] | None = None,
        layout: str = 'lasot',
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol = choose_protocol(toolkit, protocol)
        self.layout = layout
        self.class_table: Rows = []
        self.attribute_table: Rows = []

    def entry(self, sequence: Any, boxes: np.ndarray, seconds: Any) -> tuple:
        """Return annotation, boxes and the seconds that they took."""
        return Truth.of(sequence), boxes, 0.0 if seconds is None else float(np.sum(seconds))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute the figures of what :meth:`process` kept, in all processes."""
        truths, predictions, spent = self.columns(results)
        found = score(predictions, truths, self.protocol)
        self.class_table, self.attribute_table = found.rows('class'), found.rows('attribute')
        for rows, name in ((self.class_table, 'class'), (self.attribute_table, 'attribute')):
            if rows:
                text = format_table(rows, (name, 'sequences', *FIGURES), digits=1)
                print_log(f'By {name}, in percent:\n{text}', logger='current')
        frames = sum(map(len, predictions))
        speed = f', {frames / sum(spent):.1f} frames/s' if sum(spent) > 0 else ''
        print_log(f'{len(truths)} sequences, {frames} frames{speed}', logger='current')
        return found.figures()


@METRICS.register_module()
class GOT10kMetric(SequenceMetric):
    """Average overlap ``AO`` and success rates ``SR50`` and ``SR75`` in percent, as GOT-10k's.

    The first frame and frames with an absent target do not count, and boxes are clipped to the
    frame. For the test set, which has no annotations, write files for the server.

    Args:
        average: 'frames', 'sequences' or 'classes'; see :class:`~.got10k.Overlaps`.
        clip: Whether boxes are clipped to the frame, for which one is decoded.
        format_only: Whether only files are written, for sets without annotations.
        **kwargs: Arguments of :class:`SequenceMetric`.
    """

    layout = 'got10k'

    def __init__(
        self, average: str = 'frames', clip: bool = True, format_only: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        require_known(average, AVERAGES, 'average')
        if format_only and self.out_dir is None:
            raise UserError('format_only needs out_dir to know where to write')
        self.average, self.clip, self.format_only = average, clip, format_only

    def entry(self, sequence: Any, boxes: np.ndarray, seconds: Any) -> tuple:
        """Return annotation, boxes and the size of the frames; the sequence alone for files."""
        if self.format_only:
            return (sequence,)
        return truth_of(sequence), boxes, frame_size(sequence) if self.clip else None

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures of what :meth:`process` kept, in all processes."""
        columns = self.columns(results)
        if self.format_only:
            return {}
        truths, predictions, sizes = columns
        return overlaps(predictions, truths, sizes, self.average).figures()


@METRICS.register_module()
class PairIoU(BaseMetric):
    """Mean overlap of predicted and true box over pairs of crops, in percent.

    ``IoU`` is the mean; ``IoU50`` and ``IoU75`` are the parts of pairs above .5 and .75. A
    prediction that is not finite is a UserError.
    """

    default_prefix = ''

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare 'pred_box' and 'search_box' of each pair, [4]: x, y, width, height."""
        for sample in data_samples:
            require_finite(sample['pred_box'], sample, 'boxes')
            found, true = (
                torch.as_tensor(sample[key]).detach().cpu().double().numpy()
                for key in ('pred_box', 'search_box')
            )
            self.results.append(float(iou(found, true)))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Average the overlaps of all processes."""
        values = np.array(results)
        return {
            'IoU': 100 * float(values.mean()),
            'IoU50': 100 * float((values > 0.5).mean()),
            'IoU75': 100 * float((values > 0.75).mean()),
        }
