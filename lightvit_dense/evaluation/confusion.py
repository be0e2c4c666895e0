"""Which class is taken for which: by pixels of label maps, by detected objects, by images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_write, write_json
from lightvit_dense.utils.tables import to_csv
from lightvit_dense.visualization.confusion_plot import draw_confusion
from lightvit_dense.visualization.curves import save_png

from .iou_metric import IoUMetric
from .predictions import add_truth, match_images

BACKGROUND = 'background'


@dataclass(frozen=True)
class Confusion:
    """Counts of truth against prediction."""

    counts: np.ndarray  # int64 [N, N]; rows are the truth, columns the prediction
    names: tuple[str, ...]  # of rows and columns; the last is 'background' for detections
    unit: str  # what is counted: 'pixels', 'objects' or 'images'

    def ratios(self) -> np.ndarray:
        """Return the counts as ratios of their rows, float64; NaN where a row is empty."""
        total = self.counts.sum(1, keepdims=True).astype(float)
        empty = np.full(self.counts.shape, np.nan)
        return np.divide(self.counts, total, out=empty, where=total > 0)

    def occurring(self) -> 'Confusion':
        """Leave out the classes that are neither true nor predicted anywhere."""
        kept = np.flatnonzero(self.counts.sum(0) + self.counts.sum(1))
        names = tuple(self.names[i] for i in kept)
        return Confusion(self.counts[np.ix_(kept, kept)], names, self.unit)

    def worst(self, limit: int = 20) -> list[dict[str, Any]]:
        """List the most frequent: 'truth', 'prediction', 'count', 'ratio' of the truth's class."""
        ratios = self.ratios()
        wrong = [(int(n), at) for at, n in np.ndenumerate(self.counts) if n and at[0] != at[1]]
        return [
            dict(truth=self.names[i], prediction=self.names[j], count=n, ratio=float(ratios[i, j]))
            for n, (i, j) in sorted(wrong, key=lambda pair: -pair[0])[:limit]
        ]


def match_objects(
    truth: tuple[np.ndarray, np.ndarray],
    crowds: np.ndarray,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    iou_thr: float,
) -> list[tuple[int, int]]:
    """Match an image's detections with its objects, whatever their classes.

    Detections choose in order of falling score, as in COCO's evaluation: each takes the free object
    of greatest IoU, if that is at least ``iou_thr``. One that finds none is dropped if ``iou_thr``
    of it lies within a crowd. Boxes are [N, 4] as corners. Returns pairs of labels (truth,
    prediction), -1 for the background.
    """
    boxes, labels, scores = found
    overlap = box_iou(_boxes(boxes), _boxes(truth[0])).numpy()  # [M, N]
    within = _ratio_within(_boxes(boxes), _boxes(crowds))  # [M]
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


def _ratio_within(boxes: torch.Tensor, crowds: torch.Tensor) -> np.ndarray:
    """Return how much of each box [M, 4] lies within one crowd of [C, 4] at most, [M]."""
    if not len(crowds):
        return np.zeros(len(boxes))
    low = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(-1)  # [M, C]
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1, keepdim=True)
    return torch.where(area > 0, inside / area, 0.0).amax(1).numpy()


def count_confusion(
    dataset: Any, predictions: Sequence[dict[str, Any]], score_thr: float, iou_thr: float
) -> Confusion:
    """Count by pixels, images, or objects of ``score_thr``, see :func:`match_objects`."""
    names = tuple(dataset.metainfo['classes'])
    if all('pred_sem_seg' in entry for entry in predictions):
        metric = IoUMetric(getattr(dataset, 'ignore_index', 255), classwise=False)
        metric.dataset_meta = dataset.metainfo
        for entry in add_truth(dataset, predictions):
            metric.process({}, [entry])
        metric.evaluate(len(predictions))
        assert metric.confusion is not None
        return Confusion(metric.confusion.numpy(), names, 'pixels')
    if all('pred_instances' in entry for entry in predictions):
        counts = _count_objects(dataset, predictions, score_thr, iou_thr)
        return Confusion(counts, (*names, BACKGROUND), 'objects')
    if all('pred_label' in entry and 'gt_label' in entry for entry in predictions):
        counts = np.zeros((len(names), len(names)), np.int64)
        for entry in predictions:
            counts[int(entry['gt_label']), int(entry['pred_label'])] += 1
        return Confusion(counts, names, 'images')
    keys = ', '.join(sorted(predictions[0]))
    raise UserError(f'the predictions have neither boxes, label maps nor classes, but {keys}')


def _count_objects(
    dataset: Any, predictions: Sequence[Mapping[str, Any]], score_thr: float, iou_thr: float
) -> np.ndarray:
    """Count objects [N + 1, N + 1]; the last row and column are the background."""
    size = len(dataset.metainfo['classes']) + 1
    counts = np.zeros((size, size), np.int64)
    for place, entry in zip(match_images(dataset, predictions), predictions, strict=True):
        instances = dataset.get_data_info(place)['instances']
        single = [one for one in instances if not one.get('ignore_flag')]
        crowds = [one['bbox'] for one in instances if one.get('ignore_flag')]
        truth = (
            np.array([one['bbox'] for one in single]),
            np.array([one['bbox_label'] for one in single]),
        )
        boxes, labels, scores = (
            np.asarray(entry['pred_instances'][key]) for key in ('bboxes', 'labels', 'scores')
        )
        kept = scores >= score_thr
        found = boxes[kept], labels[kept], scores[kept]
        for pair in match_objects(truth, np.array(crowds), found, iou_thr):
            counts[pair] += 1
    return counts


def write_confusion(
    confusion: Confusion, out_dir: str | Path, normalize: bool, title: str, **source: Any
) -> list[Path]:
    """Write ``confusion.{png,csv}`` of classes that occur; all, with ``source``, as JSON."""
    some = confusion.occurring()
    picture, table, data = (Path(out_dir) / f'confusion.{kind}' for kind in ('png', 'csv', 'json'))
    save_png(draw_confusion(some.counts, some.names, normalize, title), picture, dpi=150)
    values = some.ratios() if normalize else some.counts
    rows = [
        [name, *(None if value != value else value for value in row)]
        for name, row in zip(some.names, values.tolist(), strict=True)
    ]
    atomic_write(table, to_csv(('truth \\ prediction', *some.names), rows).encode())
    content = dict(source, unit=confusion.unit, classes=list(confusion.names))
    content |= dict(counts=confusion.counts.tolist(), worst=confusion.worst())
    write_json(data, content)
    return [picture, table, data]
