"""One-pass evaluation as a metric of a test loop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lightvit_dense.utils.tables import format_table
from tracking.registry import METRICS
from tracking.runtime.results import write_result

from .ope import FIGURES, score
from .rules import choose_rules
from .tables import attribute_table, class_table
from .truth import Truth


@METRICS.register_module()
class OnePassEvaluation(BaseMetric):
    """Success, precision and normalised precision of a tracker that runs through whole sequences.

    In percent, averaged over sequences: ``success`` (the area under the curve), ``OP50``,
    ``OP75``, ``precision`` (at 20 pixels), ``norm_precision`` (at .2), ``norm_precision_mean``
    (over the curve). After an evaluation ``class_table`` and ``attribute_table`` have a row for
    each class and attribute on the main process.

    Args:
        toolkit: Whose habits to follow: 'pytracking' or 'matlab', LaSOT's own.
        rules: Single habits that differ; see :class:`tracking.evaluation.rules.Rules`.
        out_dir: Folder that receives the boxes and times of each sequence as text files in
            LaSOT's layout, below a folder ``tracker_name``; None writes none.
        tracker_name: Name of that folder.
        layout: 'lasot' or 'got10k', of the files.
        collect_device: Where results of several processes meet, 'cpu' or 'gpu'.
        prefix: Put before the names of the figures.

    Raises:
        UserError: If a toolkit, a rule or its value is unknown.
    """

    default_prefix = ''

    def __init__(
        self,
        toolkit: str = 'pytracking',
        rules: Mapping[str, Any] | None = None,
        out_dir: str | None = None,
        tracker_name: str = 'tracker',
        layout: str = 'lasot',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.rules = choose_rules(toolkit, rules)
        self.out_dir = None if out_dir is None else Path(out_dir) / tracker_name
        self.layout = layout
        self.class_table: list[dict[str, Any]] = []
        self.attribute_table: list[dict[str, Any]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what was tracked, and write it if files are wanted.

        Args:
            data_batch: Unused.
            data_samples: Dicts with 'sequence', 'boxes' [T, 4] and perhaps 'seconds' [T].
        """
        for sample in data_samples:
            truth = Truth.of(sample['sequence'])
            boxes = np.asarray(sample['boxes'], np.float64)
            seconds = sample.get('seconds')
            if self.out_dir is not None:
                write_result(self.out_dir, truth.name, boxes, seconds, self.layout)
            spent = 0.0 if seconds is None else float(np.sum(seconds))
            self.results.append((truth, boxes, spent))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute the figures.

        Args:
            results: What :meth:`process` kept, of all processes.
        """
        # Samplers that even out the processes' shares may have shown a sequence twice.
        unique = {truth.name: (truth, boxes, spent) for truth, boxes, spent in results}
        truths, predictions, spent = zip(*unique.values(), strict=True)
        found = score(predictions, truths, self.rules)
        self.class_table = class_table(found)
        self.attribute_table = attribute_table(found)
        for rows, name in ((self.class_table, 'class'), (self.attribute_table, 'attribute')):
            if rows:
                text = format_table(rows, (name, 'sequences', *FIGURES), digits=1)
                print_log(f'By {name}, in percent:\n{text}', logger='current')
        frames = sum(map(len, predictions))
        speed = f', {frames / sum(spent):.1f} frames/s' if sum(spent) > 0 else ''
        print_log(f'{len(truths)} sequences, {frames} frames{speed}', logger='current')
        if self.out_dir is not None:
            print_log(f'The boxes of all frames are in {self.out_dir}', logger='current')
        return found.figures()
