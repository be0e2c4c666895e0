"""Accuracy of classification."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from lightvit_dense.registry import METRICS


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Percentage of images whose label is among the k classes with the highest scores.

    Named ``accuracy/top1``, ``accuracy/top5``. Of equal scores the class that comes first counts as
    the higher, so that a model that tells nothing apart is not called right.

    Args:
        topk: The values of k.
        collect_device: Where results of several processes meet, 'cpu' or 'gpu'.
        prefix: Prefix of the names in place of 'accuracy'.

    Raises:
        ValueError: If a k is not positive, or larger than the number of classes.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be positive, got {tuple(topk)}')
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count for each image, by 'pred_score' [classes], the classes preferred to 'gt_label'."""
        scores = torch.stack([sample['pred_score'] for sample in data_samples])  # [B, classes]
        labels = torch.tensor([int(s['gt_label']) for s in data_samples], device=scores.device)
        if max(self.topk) > scores.shape[1]:
            raise ValueError(
                f'topk={self.topk} asks for more than the {scores.shape[1]} classes; set topk of '
                'lightvit_dense.Accuracy'
            )
        own = scores.gather(1, labels[:, None])
        earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
        rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
        # A score that is no number is below nothing; it must not count as the best.
        rank[own[:, 0].isnan()] = scores.shape[1]
        self.results += rank.tolist()

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Return the accuracies, from the number of classes preferred to each label."""
        rank = torch.tensor(results)
        return {f'top{k}': 100 * (rank < k).double().mean().item() for k in self.topk}
