"""COCO's average precision, computed by faster-coco-eval or by pycocotools."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from pycocotools import mask as mask_utils
from torch import Tensor

from lightvit_dense.datasets.annotations import class_ids, read_annotations
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.tables import format_table

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def _tools(backend: str) -> tuple[type, type]:
    """Import a backend's classes for annotations and evaluation."""
    if backend == 'faster':
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def encode_masks(masks: Any) -> list[dict[str, Any]]:
    """Encode masks in COCO's run lengths.

    Args:
        masks: bool Tensor or array [N, H, W], or a list that is encoded already.

    Returns:
        N dicts of 'size' and 'counts' (text).
    """
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

    Reports COCO's twelve figures for each of ``metric``, e.g. 'coco/bbox_mAP', unrounded; -1
    stands for a size of which the ground truth has no object. Only images that were processed
    count, so that a subset of the data is judged as such. After an evaluation ``class_table`` has
    a row for each class on the main process: 'class', 'instances' (of the evaluated images, crowds
    left out), and 'bbox_mAP', 'bbox_mAP_50', ... of every metric.

    Args:
        ann_file: Annotations in COCO's layout.
        metric: 'bbox', 'segm', or both in a list.
        backend: 'faster' (faster-coco-eval) or 'pycocotools'; the figures are the same.
        classwise: Whether to log the table of the classes and to report their AP among the figures
            ('coco/bbox_AP_<class>').
        max_dets: Three numbers of detections an image, ascending; precision takes the last.
        iou_thrs: IoU thresholds; None for COCO's 0.50, 0.55, ... 0.95.
        outfile_prefix: Where to write the detections (PREFIX.bbox.json, PREFIX.segm.json) in
            COCO's result format; None for nowhere.
        format_only: Whether to write the detections and compute nothing (test sets).
        backend_args: mmengine's storage backend for ``ann_file``.
        collect_device: 'cpu' or 'gpu', where the results of all processes come together.
        prefix: Put before the names of the figures.
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
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        unknown = set(self.metrics) - {'bbox', 'segm'}
        if unknown or not self.metrics:
            raise ValueError(f"metric must be 'bbox', 'segm' or both, got {metric!r}")
        if backend not in ('faster', 'pycocotools'):
            raise ValueError(f"backend must be 'faster' or 'pycocotools', got {backend!r}")
        if len(max_dets) != 3 or sorted(max_dets) != list(max_dets):
            raise ValueError(f'max_dets must be three ascending numbers, got {max_dets}')
        if format_only and outfile_prefix is None:
            raise ValueError('format_only needs outfile_prefix to know where to write')
        self.ann_file = ann_file
        self.backend = backend
        self.classwise = classwise
        self.max_dets = list(max_dets)
        self.iou_thrs = np.linspace(0.5, 0.95, 10) if iou_thrs is None else np.array(iou_thrs)
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.class_table: list[dict[str, Any]] = []
        # Read now: a broken file shall stop the run before training, not after it.
        self._content = read_annotations(ann_file, not format_only, backend_args)
        for entry in self._content['annotations']:
            entry.setdefault('iscrowd', 0)
        self._truth = self._index(self._content)

    def _index(self, content: dict[str, Any]) -> Any:
        """Index annotations with the backend's class."""
        api = _tools(self.backend)[0]()
        api.dataset = content
        with redirect_stdout(StringIO()):
            api.createIndex()
        return api

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep a batch of predictions.

        Args:
            data_batch: Ignored.
            data_samples: Dicts with 'img_id' and 'pred_instances': bboxes [N, 4] as (left, top,
                right, bottom) in pixels, scores [N], labels [N], and for 'segm' masks [N, H, W],
                optionally mask_scores [N].
        """
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
            self.results.append((int(sample['img_id']), kept))

    def detections(self, results: Sequence[tuple], metric: str) -> list[dict[str, Any]]:
        """Bring predictions into COCO's result format.

        Args:
            results: What :meth:`process` kept.
            metric: 'bbox' or 'segm'.

        Returns:
            One dict a detection.
        """
        categories = class_ids(self.ann_file, self._content, self.dataset_meta['classes'])
        listed = []
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

    def _detected(self, listed: list[dict[str, Any]]) -> Any:
        if listed:
            with redirect_stdout(StringIO()):
                return self._truth.loadRes(listed)
        # Both backends stumble over an empty list, whose figures are plain zeros.
        empty = {key: self._content[key] for key in ('images', 'categories')}
        return self._index({**empty, 'annotations': []})

    def names(self) -> tuple[str, ...]:
        """Return the names of the twelve figures in COCO's order."""
        recalls = [f'AR@{n}' for n in self.max_dets]
        return (*PRECISIONS, *recalls, *(f'AR_{size}' for size in 'sml'))

    def _evaluate(self, detected: Any, metric: str, images: list[int]) -> Any:
        """Run the backend's evaluation."""
        run = _tools(self.backend)[1](self._truth, detected, metric)
        classes = self.dataset_meta['classes']
        run.params.catIds = class_ids(self.ann_file, self._content, classes)
        run.params.imgIds = images
        run.params.maxDets = self.max_dets
        run.params.iouThrs = self.iou_thrs
        with redirect_stdout(StringIO()):
            run.evaluate()
            run.accumulate()
        return run

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute the figures.

        Args:
            results: What :meth:`process` kept, of all processes.

        Returns:
            The figures by name, e.g. 'bbox_mAP'.

        Raises:
            DatasetError: If an image is not in the annotation file.
        """
        # Samplers that even out the processes' shares may have shown an image twice.
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
        figures: dict[str, float] = {}
        self.class_table = self._count_instances(images)
        for metric in self.metrics:
            listed = self.detections(results, metric)
            self._write(listed, metric)
            if self.format_only:
                continue
            run = self._evaluate(self._detected(listed), metric, images)
            stats = summarize(run.eval, self.iou_thrs)
            for name, value in zip(self.names(), stats, strict=True):
                figures[f'{metric}_{name}'] = value
            shown = ', '.join(f'{n} {v:.3f}' for n, v in zip(PRECISIONS, stats, strict=False))
            print_log(f'{metric}: {shown}', logger='current')
            self._classwise(run.eval, metric)
            if self.classwise:
                named = [f'{metric}_{name}' for name in PRECISIONS]
                text = format_table(self.class_table, ('class', 'instances', *named), digits=3)
                print_log(f'{metric} by class:\n{text}', logger='current')
                figures |= {f'{metric}_AP_{r["class"]}': r[named[0]] for r in self.class_table}
        return figures

    def _count_instances(self, images: list[int]) -> list[dict[str, Any]]:
        """Begin the table of the classes with what there is to find."""
        classes = self.dataset_meta['classes']
        ids, shown = class_ids(self.ann_file, self._content, classes), set(images)
        counts = Counter(
            entry['category_id']
            for entry in self._content['annotations']
            if entry['image_id'] in shown and not entry['iscrowd']
        )
        return [
            {'class': name, 'instances': counts[number]}
            for name, number in zip(classes, ids, strict=True)
        ]

    def _write(self, listed: list[dict[str, Any]], metric: str) -> None:
        if self.outfile_prefix is not None:
            content = json.dumps(listed).encode()
            atomic_write(f'{self.outfile_prefix}.{metric}.json', content)

    def _classwise(self, evaluated: dict[str, Any], metric: str) -> None:
        """Enter every class's precision into the table."""
        # The backends sort the classes by their ids.
        ids = class_ids(self.ann_file, self._content, self.dataset_meta['classes'])
        for number, row in zip(ids, self.class_table, strict=True):
            place = sorted(ids).index(number)
            one = {
                'precision': evaluated['precision'][:, :, place : place + 1],
                'recall': evaluated['recall'][:, place : place + 1],
            }
            stats = summarize(one, self.iou_thrs)
            row.update(zip((f'{metric}_{name}' for name in PRECISIONS), stats, strict=False))


def summarize(evaluated: dict[str, Any], iou_thrs: np.ndarray) -> list[float]:
    """Average precision and recall to COCO's twelve figures.

    Args:
        evaluated: 'precision' [T, R, K, A, M] and 'recall' [T, K, A, M] over thresholds, recall
            levels, classes, areas (all, small, medium, large) and numbers of detections.
        iou_thrs: The thresholds [T].

    Returns:
        AP, AP50, AP75, AP of small, medium, large; AR at the three numbers of detections, AR of
        small, medium, large. -1 where there is no ground truth or no such threshold.
    """
    precision, recall = evaluated['precision'], evaluated['recall']

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    def at(threshold: float) -> float:
        return mean(precision[np.isclose(iou_thrs, threshold), :, :, 0, -1])

    figures = [mean(precision[..., 0, -1]), at(0.5), at(0.75)]
    figures += [mean(precision[..., area, -1]) for area in (1, 2, 3)]
    figures += [mean(recall[..., 0, count]) for count in range(3)]
    return figures + [mean(recall[..., area, -1]) for area in (1, 2, 3)]
