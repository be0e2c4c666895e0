"""Accuracy of classification, by the labels of the data set and by ImageNet's reassessed ones."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from lightvit_dense.datasets.text import read_json
from lightvit_dense.errors import UserError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.finite import require_finite, warn_constant

_NUMBER = re.compile(r'_(\d{8})\.[A-Za-z]+$')


def _scores(samples: Sequence[dict]) -> Tensor:
    """Return 'pred_score' of samples, [B, classes]."""
    for sample in samples:
        require_finite(sample['pred_score'], sample, 'scores')
    return torch.stack([sample['pred_score'] for sample in samples])


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Percentage of images whose label is among the k classes with the highest scores.

    Named ``accuracy/top1``, ``accuracy/top5``. Of equal scores the class that comes first counts as
    the higher, so that a model that scores all classes alike is at chance. NaN or infinite
    scores are a UserError; the same class for all images is a warning.

    Args:
        topk: The values of k.
        prefix: Prefix of the names in place of 'accuracy'.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be positive, got {tuple(topk)}')
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count for each image, by 'pred_score' [classes], the classes preferred to 'gt_label'."""
        scores = _scores(data_samples)
        labels = torch.tensor([int(s['gt_label']) for s in data_samples], device=scores.device)
        if max(self.topk) > scores.shape[1]:
            raise ValueError(
                f'topk={self.topk} asks for more than the {scores.shape[1]} classes; set topk of '
                'lightvit_dense.Accuracy'
            )
        own = scores.gather(1, labels[:, None])
        earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
        rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
        self.results += zip(rank.tolist(), scores.argmax(1).tolist(), strict=True)

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Return the accuracies, from the number of classes preferred to each label."""
        rank, best = torch.tensor(results).T
        if len(best) > 1 and (best == best[0]).all() and rank.any():
            warn_constant(f'All {len(best)} images are predicted as class {best[0]}')
        return {f'top{k}': 100 * (rank < k).double().mean().item() for k in self.topk}


@METRICS.register_module()
class RealAccuracy(BaseMetric):
    """ImageNet-ReaL: percentage of images whose class is among their labels.

    Beyer et al., Are we done with ImageNet? (2020). Their ``real.json`` lists the labels of
    ILSVRC2012_val_00000001 and so on; images without a label are left out. Images are known by the
    numbers in their names, wherever they lie. Named ``real/top1``, and ``real/images`` for the
    number of images that have labels.

    Args:
        ann_file: ``real.json``.
        prefix: Prefix of the names in place of 'real'.
    """

    default_prefix = 'real'

    def __init__(self, ann_file: str, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.ann_file = ann_file
        self.labels = read_real(ann_file)
        self.count = 1 + max((label for labels in self.labels for label in labels), default=-1)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note whether the best of 'pred_score' [classes] is a label; None where there is none."""
        scores = _scores(data_samples)
        self._check_classes(scores.shape[1])
        for sample, label in zip(data_samples, scores.argmax(1).tolist(), strict=True):
            labels = self.labels[self._place(sample)]
            self.results.append(label in labels if labels else None)

    def compute_metrics(self, results: list[bool | None]) -> dict[str, float]:
        """Return the accuracy and the number of images that have labels."""
        counted = [right for right in results if right is not None]
        if not counted:
            raise UserError(f'{self.ann_file}: none of the {len(results)} images has a label there')
        return {'top1': 100 * sum(counted) / len(counted), 'images': float(len(counted))}

    def _check_classes(self, count: int) -> None:
        classes = list((self.dataset_meta or {}).get('classes') or ())
        if count < self.count:
            raise UserError(
                f'{self.ann_file}: has labels up to {self.count - 1}, the model has {count} '
                'classes; ReaL needs a model of the 1000 classes of ImageNet-1k'
            )
        if classes != sorted(classes):
            raise UserError(
                f'{self.ann_file}: its labels are the places of the sorted class names, the data '
                'set has its classes in another order; leave `classes` of the dataset to the '
                'sorted folders to evaluate ReaL'
            )

    def _place(self, sample: dict) -> int:
        path = sample.get('img_path')
        if path is None:
            raise UserError(
                "RealAccuracy needs 'img_path' of every image: name it in meta_keys of "
                'lightvit_dense.PackImage'
            )
        match = _NUMBER.search(str(path))
        if match is None or not 1 <= int(match[1]) <= len(self.labels):
            raise UserError(
                f'{path}: is not called ILSVRC2012_val_<number>.JPEG with a number up to '
                f'{len(self.labels)}, so its labels in {self.ann_file} are unknown. ReaL needs '
                'the validation images of ImageNet under their own names.'
            )
        return int(match[1]) - 1


def read_real(path: str) -> list[frozenset[int]]:
    """Read ``real.json``: of each image its labels, possibly none."""
    if not Path(path).is_file():
        raise UserError(
            f'{path}: the labels of ImageNet-ReaL do not exist. real.json comes from '
            'google-research/reassessed-imagenet on GitHub.'
        )
    content = read_json(path)
    if not isinstance(content, list) or not all(
        isinstance(entry, list) and all(type(label) is int and label >= 0 for label in entry)
        for entry in content
    ):
        raise UserError(f'{path}: is no list of lists of labels, as real.json is. Fetch it again.')
    return [frozenset(entry) for entry in content]
