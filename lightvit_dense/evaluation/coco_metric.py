"""COCO's average precision, computed by faster-coco-eval or by pycocotools.

mmdet's ``FasterCocoMetric`` is not built upon: it rounds to three decimals, counts images that were
not evaluated as missed, gives no figures where nothing was detected, and reads a damaged annotation
file without a word.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from pycocotools import mask as mask_utils
from torch import Tensor

from lightvit_dense.datasets.annotations import class_ids, read_annotations, renumber
from lightvit_dense.datasets.contents import name_absent
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.finite import require_finite, warn_constant
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.tables import format_table

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_BACKENDS = {
    'faster': (('faster_coco_eval', 'COCO'), ('faster_coco_eval', 'COCOeval_faster')),
    'pycocotools': (('pycocotools.coco', 'COCO'), ('pycocotools.cocoeval', 'COCOeval')),
}


_CROWDS = ' (crowds, iscrowd: 1, do not count)'


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def encode_masks(masks: Any) -> list[dict[str, Any]]:
    """Encode masks, bool [N, H, W] or a list that is encoded already, in COCO's run lengths."""
    if not isinstance(masks, list):
        array = np.asfortranarray(_numpy(masks).astype(np.uint8).transpose(1, 2, 0))
        masks = mask_utils.encode(array) if array.shape[2] else []
    return [
        {**rle, 'counts': rle['counts'].decode()} if isinstance(rle['counts'], bytes) else rle
        for rle in masks
    ]


@METRICS.register_module()
class CocoMetric(BaseMetric):
    """Average precision and recall of boxes and masks by COCO's protocol.

    Reports COCO's twelve figures for each of ``metric``, e.g. 'coco/bbox_mAP', unrounded; -1 stands
    for a size without objects in the truth. Only images that were processed count. A warning names
    the classes without objects, which no mean counts; no object at all is an error. After an
    evaluation ``class_table`` has a row for each class on the main process: 'class', 'instances'
    (crowds left out), and 'bbox_mAP', 'bbox_mAP_50', ... of every metric.

    Args:
        ann_file: Annotations in COCO's layout.
        metric: 'bbox', 'segm', or both in a list.
        backend: 'faster' (faster-coco-eval) or 'pycocotools'; the figures are the same.
        classwise: Whether to log the table of the classes and to report 'coco/bbox_AP_<class>'.
        max_dets: Three numbers of detections an image, ascending; precision takes the last.
        iou_thrs: IoU thresholds; None for COCO's 0.50, 0.55, ... 0.95.
        outfile_prefix: Where to write the detections (PREFIX.bbox.json, PREFIX.segm.json) in
            COCO's result format; None for nowhere.
        format_only: Whether to write the detections and compute nothing (test sets).
        backend_args: mmengine's storage backend for ``ann_file``.
        **kwargs: Arguments of mmengine's ``BaseMetric``.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        backend: str = 'faster',
        classwise: bool = False,
        max_dets: Sequence[int] = (1, 10, 100),
        iou_thrs: Sequence[float] | None = None,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        unknown = set(self.metrics) - {'bbox', 'segm'}
        if unknown or not self.metrics:
            raise ValueError(f"metric must be 'bbox', 'segm' or both, got {metric!r}")
        if backend not in _BACKENDS:
            raise ValueError(f"backend must be 'faster' or 'pycocotools', got {backend!r}")
        if len(max_dets) != 3 or sorted(max_dets) != list(max_dets):
            raise ValueError(f'max_dets must be three ascending numbers, got {max_dets}')
        if format_only and outfile_prefix is None:
            raise ValueError('format_only needs outfile_prefix to know where to write')
        self.ann_file = ann_file
        self.classwise = classwise
        self.max_dets = list(max_dets)
        self.iou_thrs = np.linspace(0.5, 0.95, 10) if iou_thrs is None else np.array(iou_thrs)
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.class_table: list[dict[str, Any]] = []
        # Read now: a broken file shall stop the run before training, not after it.
        self._content = read_annotations(ann_file, not format_only, backend_args)
        renumber(ann_file, self._content)
        for entry in self._content['annotations']:
            entry.setdefault('iscrowd', 0)
        if not format_only and all(entry['iscrowd'] for entry in self._content['annotations']):
            raise DatasetError(
                f'{ann_file}: has no object to evaluate on{_CROWDS}. Give the metric a file with '
                'objects, or set format_only=True to write detections alone.'
            )
        self._told = False
        self._index_class, self._evaluator_class = (
            getattr(import_module(module), name) for module, name in _BACKENDS[backend]
        )
        self._truth = self._index(self._content)

    def _index(self, content: dict[str, Any]) -> Any:
        """Index annotations with the backend's class."""
        api = self._index_class()
        api.dataset = content
        with redirect_stdout(StringIO()):
            api.createIndex()
        return api

    def _class_ids(self) -> list[int]:
        return class_ids(self.ann_file, self._content, self.dataset_meta['classes'])

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep a batch: dicts with 'img_id' and 'pred_instances', boxes as corners in pixels."""
        for sample in data_samples:
            predicted = sample['pred_instances']
            kept: dict[str, Any] = {
                key: _numpy(predicted[key]) for key in ('bboxes', 'scores', 'labels')
            }
            if 'segm' in self.metrics:
                if 'masks' not in predicted:
                    raise ValueError("metric 'segm' needs masks, but the model predicts none")
                kept['masks'] = encode_masks(predicted['masks'])
                kept['mask_scores'] = _numpy(predicted.get('mask_scores', predicted['scores']))
            for key in [key for key in kept if key not in ('labels', 'masks')]:
                require_finite(kept[key], sample, key)
            self.results.append((int(sample['img_id']), kept))

    def _list_detections(self, results: Sequence[tuple], metric: str) -> list[dict[str, Any]]:
        """Bring what was kept into COCO's result format, a dict a detection."""
        categories, listed = self._class_ids(), []
        for image, kept in results:
            scores = kept['scores' if metric == 'bbox' else 'mask_scores']
            for place, label in enumerate(kept['labels']):
                entry = {'image_id': image, 'category_id': categories[int(label)]}
                entry['score'] = float(scores[place])
                if metric == 'bbox':
                    left, top, right, bottom = kept['bboxes'][place].tolist()
                    entry['bbox'] = [left, top, right - left, bottom - top]
                else:
                    # No box beside it: COCO would take its area for the mask's.
                    entry['segmentation'] = dict(kept['masks'][place])
                listed.append(entry)
        return listed

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute the figures, e.g. 'bbox_mAP', of what all processes kept."""
        # A distributed sampler may have repeated images.
        results = list(dict(results).items())
        images = sorted(image for image, _ in results)
        known = {entry['id'] for entry in self._content['images']}
        if strange := [image for image in images if image not in known]:
            raise DatasetError(
                f'{self.ann_file}: lacks the image {strange[0]} that was evaluated. Give the '
                'metric the annotation file of the test dataset.'
            )
        if len(images) < len(known):
            print_log(f'Evaluating {len(images)} of {len(known)} images', logger='current')
        boxes = [kept['bboxes'] for _, kept in results]
        if len(boxes) > 1 and all(np.array_equal(boxes[0], others) for others in boxes[1:]):
            what = f'The same {len(boxes[0])} boxes are' if len(boxes[0]) else 'No boxes are'
            warn_constant(f'{what} detected in all {len(boxes)} images')
        figures: dict[str, float] = {}
        self.class_table = self._count_instances(set(images))
        if not self.format_only:
            self._name_absent(len(images))
        for metric in self.metrics:
            listed = self._list_detections(results, metric)
            if self.outfile_prefix is not None:
                atomic_write(f'{self.outfile_prefix}.{metric}.json', json.dumps(listed).encode())
            if not self.format_only:
                figures |= self._evaluate(listed, metric, images)
        return figures

    def _count_instances(self, images: set[int]) -> list[dict[str, Any]]:
        """Begin the table of the classes with what there is to find."""
        counts = Counter(
            entry['category_id']
            for entry in self._content['annotations']
            if entry['image_id'] in images and not entry['iscrowd']
        )
        return [
            {'class': name, 'instances': counts[number]}
            for name, number in zip(self.dataset_meta['classes'], self._class_ids(), strict=True)
        ]

    def _name_absent(self, images: int) -> None:
        """Name the classes that have no truth, once; refuse to evaluate where none has any."""
        absent = [row['class'] for row in self.class_table if not row['instances']]
        if len(absent) == len(self.class_table):
            raise DatasetError(
                f'{self.ann_file}: the {images} images evaluated have no object of any of the '
                f'{len(absent)} classes{_CROWDS}, so that there is nothing to measure. Evaluate '
                'images with objects of these classes.'
            )
        if absent and not self._told:
            self._told = True
            text = name_absent(self.ann_file, absent, len(self.class_table))
            print_log(text, logger='current', level=30)

    def _evaluate(
        self, listed: list[dict[str, Any]], metric: str, images: list[int]
    ) -> dict[str, float]:
        """Run the backend's evaluation, and add its precisions to the table of the classes."""
        ids = self._class_ids()
        with redirect_stdout(StringIO()):
            if listed:
                detected = self._truth.loadRes(listed)
            else:
                # Both backends stumble over an empty list, whose figures are plain zeros.
                empty = {key: self._content[key] for key in ('images', 'categories')}
                detected = self._index({**empty, 'annotations': []})
            run = self._evaluator_class(self._truth, detected, metric)
            run.params.catIds, run.params.imgIds = ids, images
            run.params.maxDets, run.params.iouThrs = self.max_dets, self.iou_thrs
            run.evaluate()
            run.accumulate()
        precision, recall = run.eval['precision'], run.eval['recall']
        stats = summarize(precision, recall, self.iou_thrs)
        recalls = [f'AR@{n}' for n in self.max_dets] + [f'AR_{size}' for size in 'sml']
        names = [f'{metric}_{name}' for name in (*PRECISIONS, *recalls)]
        figures = dict(zip(names, stats, strict=True))
        shown = ', '.join(f'{n} {v:.3f}' for n, v in zip(PRECISIONS, stats, strict=False))
        print_log(f'{metric}: {shown}', logger='current')
        order = sorted(ids)  # that of the backends
        for number, row in zip(ids, self.class_table, strict=True):
            place = slice(order.index(number), order.index(number) + 1)
            one = summarize(precision[:, :, place], recall[:, place], self.iou_thrs)
            row.update(zip(names[: len(PRECISIONS)], one, strict=False))
        if self.classwise:
            columns = ('class', 'instances', *names[: len(PRECISIONS)])
            text = format_table(self.class_table, columns, digits=3)
            print_log(f'{metric} by class:\n{text}', logger='current')
            figures |= {f'{metric}_AP_{row["class"]}': row[names[0]] for row in self.class_table}
        return figures


def summarize(precision: np.ndarray, recall: np.ndarray, iou_thrs: np.ndarray) -> list[float]:
    """Average precision [T, R, K, A, M] and recall [T, K, A, M] to COCO's twelve figures.

    Axes are thresholds, recall levels, classes, areas (all, small, medium, large), numbers of
    detections. -1 where there is no ground truth or no such threshold. The backends' own summary
    knows COCO's thresholds and numbers of detections only.
    """

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    figures = [mean(precision[..., 0, -1])]
    figures += [mean(precision[np.isclose(iou_thrs, at), ..., 0, -1]) for at in (0.5, 0.75)]
    figures += [mean(precision[..., area, -1]) for area in (1, 2, 3)]
    figures += [mean(recall[..., 0, count]) for count in range(3)]
    return figures + [mean(recall[..., area, -1]) for area in (1, 2, 3)]
