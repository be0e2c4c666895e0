"""Overlap of predicted boxes in single search crops, for validation during training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from tracking.boxes import iou
from tracking.registry import METRICS


@METRICS.register_module()
class PairIoU(BaseMetric):
    """Mean overlap of predicted and true box over pairs of crops, in percent.

    ``IoU`` is the mean; ``IoU50`` and ``IoU75`` are the shares of pairs above .5 and .75. A
    prediction that is not finite overlaps nothing; a warning tells how many there were.

    Args:
        collect_device: Where results of several processes meet, 'cpu' or 'gpu'.
        prefix: Put before the names of the figures.
    """

    default_prefix = ''

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare a batch.

        Args:
            data_batch: Unused.
            data_samples: Dicts with 'pred_box' and 'search_box', [4] each: x, y, width, height.
        """
        for sample in data_samples:
            boxes = [_array(sample[key]) for key in ('pred_box', 'search_box')]
            self.results.append(float(iou(*boxes)) if np.isfinite(boxes[0]).all() else np.nan)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Average.

        Args:
            results: Overlaps of all processes; NaN where the prediction was not finite.
        """
        overlaps = np.array(results)
        if broken := int(np.isnan(overlaps).sum()):
            print_log(
                f'{broken} of {len(overlaps)} predicted boxes are not finite; they count as missed',
                logger='current',
                level=30,
            )
        overlaps = np.nan_to_num(overlaps)
        return {
            'IoU': 100 * float(overlaps.mean()),
            'IoU50': 100 * float((overlaps > 0.5).mean()),
            'IoU75': 100 * float((overlaps > 0.75).mean()),
        }


def _array(box: Any) -> np.ndarray:
    found = box.detach().cpu() if isinstance(box, torch.Tensor) else box
    return np.asarray(found, np.float64).reshape(4)
