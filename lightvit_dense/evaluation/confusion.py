"""Which class is taken for which: by pixels of label maps, by detected objects, by images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from lightvit_dense.errors import UserError

from .eval_predictions import pair, with_truth

BACKGROUND = 'background'


@dataclass(frozen=True)
class Confusion:
    """Counts of truth against prediction.

    Attributes:
        counts: int64 [N, N]; rows are the truth, columns the prediction.
        names: Names of the rows and columns; the last is 'background' for detections.
        unit: What is counted: 'pixels', 'objects' or 'images'.
    """

    counts: np.ndarray
    names: tuple[str, ...]
    unit: str

    def shares(self) -> np.ndarray:
        """Return the counts as shares of their rows, float64; NaN where a row is empty."""
        total = self.counts.sum(1, keepdims=True).astype(float)
        return np.divide(
            self.counts, total, out=np.full(self.counts.shape, np.nan), where=total > 0
        )

    def occurring(self) -> 'Confusion':
        """Leave out the classes that are neither true nor predicted anywhere."""
        kept = np.flatnonzero(self.counts.sum(0) + self.counts.sum(1))
        names = tuple(self.names[i] for i in kept)
        return Confusion(self.counts[np.ix_(kept, kept)], names, self.unit)

    def worst(self, limit: int = 20) -> list[dict[str, Any]]:
        """List the most frequent confusions.

        Args:
            limit: How many.

        Returns:
            Dicts of 'truth', 'prediction', 'count', and 'share' of what is truly of that class.
        """
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        shares = self.shares()
        order = np.argsort(-wrong, axis=None, kind='stable')[:limit]
        listed = []
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
            if wrong[row, column]:
                entry = {'truth': self.names[row], 'prediction': self.names[column]}
                entry |= {'count': int(wrong[row, column]), 'share': float(shares[row, column])}
                listed.append(entry)
        return listed


def match(
    truth: tuple[np.ndarray, np.ndarray],
    crowds: np.ndarray,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    iou_thr: float,
) -> list[tuple[int, int]]:
    """Match the detections of an image with its objects, whatever their classes.

    Detections choose in order of falling score, as in COCO's evaluation: each takes the object,
    not yet taken, with which it has the greatest IoU, if that is at least ``iou_thr``. One that
    finds none is dropped if ``iou_thr`` of it lies within a crowd.

    Args:
        truth: Boxes [N, 4] as (left, top, right, bottom), and labels [N].
        crowds: Boxes [C, 4] of groups, in which any number of detections is right.
        found: Boxes [M, 4], labels [M], scores [M].
        iou_thr: Least IoU of a match.

    Returns:
        Pairs of labels (truth, prediction); -1 stands for the background: in the first place for
        a detection of nothing, in the second for an object that was missed.
    """
    boxes, labels, scores = found
    overlap = box_iou(_boxes(boxes), _boxes(truth[0])).numpy()  # [M, N]
    within = _share_within(_boxes(boxes), _boxes(crowds))  # [M]
    free = np.ones(len(truth[1]), bool)
    pairs = []
    for place in np.argsort(-scores, kind='stable'):
        candidates = np.where(free, overlap[place], -1.0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= iou_thr:
            free[best] = False
            pairs.append((int(truth[1][best]), int(labels[place])))
        elif within[place] < iou_thr:
            pairs.append((-1, int(labels[place])))
    return pairs + [(int(label), -1) for label in truth[1][free]]


def _boxes(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64)).reshape(-1, 4)


def _share_within(boxes: torch.Tensor, crowds: torch.Tensor) -> np.ndarray:
    """Return the greatest share of each box that lies within one crowd."""
    if not len(crowds):
        return np.zeros(len(boxes))
    low = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(-1)  # [M, C]
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1, keepdim=True)
    return torch.where(area > 0, inside / area, 0.0).amax(1).numpy()


def detection_confusion(
    dataset: Any, predictions: Sequence[Mapping[str, Any]], score_thr: float, iou_thr: float
) -> Confusion:
    """Count which objects were taken for which, see :func:`match`.

    Args:
        dataset: Detection data set in mmdet's format.
        predictions: Dicts with 'pred_instances' and 'img_path'.
        score_thr: Least score of a detection that counts.
        iou_thr: Least IoU of a match.
    """
    names = (*dataset.metainfo['classes'], BACKGROUND)
    counts = np.zeros((len(names), len(names)), np.int64)
    for place, entry in zip(pair(dataset, predictions), predictions, strict=True):
        instances = dataset.get_data_info(place)['instances']
        single = [one for one in instances if not one.get('ignore_flag')]
        crowds = [one['bbox'] for one in instances if one.get('ignore_flag')]
        truth = [one['bbox'] for one in single], np.array([one['bbox_label'] for one in single])
        objects = {
            k: np.asarray(entry['pred_instances'][k]) for k in ('bboxes', 'labels', 'scores')
        }
        kept = objects['scores'] >= score_thr
        found = tuple(objects[key][kept] for key in ('bboxes', 'labels', 'scores'))
        for pair_of_labels in match(truth, np.array(crowds), found, iou_thr):  # type: ignore[arg-type]
            counts[pair_of_labels] += 1
    return Confusion(counts, names, 'objects')


def segmentation_confusion(dataset: Any, predictions: Sequence[dict[str, Any]]) -> Confusion:
    """Count which pixels were taken for which; ignored ones do not count.

    Args:
        dataset: Segmentation data set in mmseg's format.
        predictions: Dicts with 'pred_sem_seg' and 'img_path'.
    """
    from lightvit_dense.evaluation import IoUMetric

    metric = IoUMetric(getattr(dataset, 'ignore_index', 255), classwise=False)
    metric.dataset_meta = dataset.metainfo
    for entry in with_truth(dataset, predictions):
        metric.process({}, [entry])
    metric.evaluate(len(predictions))
    assert metric.confusion is not None
    return Confusion(metric.confusion.numpy(), tuple(dataset.metainfo['classes']), 'pixels')


def classification_confusion(dataset: Any, predictions: Sequence[Mapping[str, Any]]) -> Confusion:
    """Count which images were taken for which.

    Args:
        dataset: Classification data set.
        predictions: Dicts with 'gt_label' and 'pred_label'.
    """
    names = tuple(dataset.metainfo['classes'])
    counts = np.zeros((len(names), len(names)), np.int64)
    for entry in predictions:
        counts[int(entry['gt_label']), int(entry['pred_label'])] += 1
    return Confusion(counts, names, 'images')


def confusion_of(
    dataset: Any, predictions: Sequence[dict[str, Any]], score_thr: float, iou_thr: float
) -> Confusion:
    """Count by pixels, by objects or by images, whichever the predictions are of.

    Raises:
        UserError: If they are of none of these.
    """
    if all('pred_sem_seg' in entry for entry in predictions):
        return segmentation_confusion(dataset, predictions)
    if all('pred_instances' in entry for entry in predictions):
        return detection_confusion(dataset, predictions, score_thr, iou_thr)
    if all('pred_label' in entry and 'gt_label' in entry for entry in predictions):
        return classification_confusion(dataset, predictions)
    keys = ', '.join(sorted(predictions[0]))
    raise UserError(f'the predictions have neither boxes, label maps nor classes, but {keys}')
