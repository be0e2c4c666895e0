"""Mean intersection over union of semantic segmentation, by exact counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.finite import require_finite, warn_constant
from lightvit_dense.utils.io import atomic_path
from lightvit_dense.utils.tables import format_table


@METRICS.register_module()
class IoUMetric(BaseMetric):
    """Mean IoU, mean accuracy of the classes, and accuracy of the pixels, in percent.

    The pixels of the whole data set are pooled, as ADE20K's benchmark does, and the mean goes over
    the classes that occur in the truth or, as mmseg's, in the predictions. Named 'mIoU', 'mAcc',
    'aAcc'. Counts are exact 64-bit integers in one matrix, so that memory does not grow with the
    data set. After an evaluation the main process has it in ``confusion`` (int64 [classes,
    classes], rows are the truth) and the figures of every class in ``class_table``.

    A class that is in no label map is named in a warning; its IoU is 0 where it is predicted, else
    NaN and no part of the mean. So is a class that all pixels are predicted as. One class alone in
    the truth, and NaN or infinite scores, are errors.

    Args:
        ignore_index: Id of the pixels of the truth that do not count.
        classwise: Whether to log the table of all classes.
        output_dir: Directory that receives every prediction as PNG, for a test server: ids as in
            the files of the data set, that is plus one with ``reduce_zero_label``.
        format_only: Whether to write the predictions and compute nothing (test sets).
        prefix: Put before the names of the figures.
    """

    default_prefix = ''

    def __init__(
        self,
        ignore_index: int = 255,
        classwise: bool = True,
        output_dir: str | None = None,
        format_only: bool = False,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        if format_only and output_dir is None:
            raise ValueError('format_only needs output_dir to know where to write')
        self.ignore_index = ignore_index
        self.classwise = classwise
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.format_only = format_only
        self.confusion: Tensor | None = None
        self.class_table: list[dict[str, Any]] = []
        self._reset()

    def _reset(self) -> None:
        self._counts: Tensor | None = None
        self._last: Tensor | None = None
        self._images = 0
        self._written: dict[str, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of 'pred_sem_seg' and 'gt_sem_seg', dicts with 'data' [1, H, W]."""
        for sample in data_samples:
            if 'seg_logits' in sample:
                require_finite(sample['seg_logits']['data'], sample, 'scores')
            predicted = _ids(sample, 'pred_sem_seg')
            if self.output_dir is not None:
                self._write(self.output_dir, predicted, sample)
            if not self.format_only:
                self._add(self._count(predicted, sample))

    def _count(self, predicted: Tensor, sample: dict) -> Tensor:
        """Return the matrix of one image, on the device of its prediction."""
        classes, name = len(self.dataset_meta['classes']), sample.get('img_path', 'an image')
        if 'gt_sem_seg' not in sample:
            raise DatasetError(
                f'{name}: has no label map to compare with. Load it in the test pipeline, or set '
                'format_only and output_dir of lightvit_dense.IoUMetric.'
            )
        truth = _ids(sample, 'gt_sem_seg').to(predicted.device)
        if truth.shape != predicted.shape:
            raise DatasetError(
                f'{name}: the label map has {tuple(truth.shape)} pixels, the prediction '
                f'{tuple(predicted.shape)}. In the test pipeline load the label map after '
                'resizing, so that both have the size of the image file.'
            )
        labelled = truth != self.ignore_index
        truth, predicted = truth[labelled], predicted[labelled]
        strange = (truth < 0) | (truth >= classes) | (predicted < 0) | (predicted >= classes)
        if strange.any():
            raise DatasetError(_explain_strange(name, truth, predicted, classes))
        pairs = truth * classes + predicted
        return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def _add(self, counts: Tensor) -> None:
        """Add the image before; the newest waits, since it may turn out to be a repetition."""
        if self._counts is None:
            self._counts = torch.zeros_like(counts)
        if self._last is not None:
            self._counts += self._last.to(self._counts.device)
        self._last = counts
        self._images += 1

    def _write(self, folder: Path, predicted: Tensor, sample: dict) -> None:
        """Write a prediction as PNG under the name of its image."""
        path = sample['img_path']
        stem = Path(path).stem
        if self._written.setdefault(stem, path) != path:
            raise DatasetError(
                f'{path} and {self._written[stem]}: would both be written to {stem}.png. Test them '
                'one after the other with output_dirs of their own.'
            )
        shifted = sample.get('reduce_zero_label', self.dataset_meta.get('reduce_zero_label'))
        ids = predicted.cpu().numpy() + (1 if shifted else 0)
        kind = np.uint8 if ids.max(initial=0) < 256 else np.uint16
        with atomic_path(folder / f'{stem}.png') as temporary:
            Image.fromarray(ids.astype(kind)).save(temporary, format='png')

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum over processes and compute the figures; images beyond ``size`` are repetitions."""
        if self.format_only:
            print_log(f'The predictions are in {self.output_dir}', logger='current')
            self._reset()
            return {}
        classes = len(self.dataset_meta['classes'])
        counts = self._counts
        if counts is None:
            counts = torch.zeros(classes, classes, dtype=torch.int64)
        # Samplers deal images out in turn; this is the place of the last one here.
        elif self._last is not None and (self._images - 1) * get_world_size() + get_rank() < size:
            counts = counts + self._last.to(counts.device)
        self._reset()
        all_reduce(counts)
        return self.compute_metrics([counts.cpu()])

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Compute the figures from the sum of matrices of truth by prediction."""
        self.confusion = torch.stack(results).sum(0)
        names = self.dataset_meta['classes']
        figures, self.class_table = iou_figures(self.confusion, names)
        if self.classwise:
            shown = [row for row in self.class_table if row['IoU'] == row['IoU']]
            text = format_table(shown, ('class', 'IoU', 'Acc', 'pixels'))
            print_log(f'by class:\n{text}', logger='current')
        absent = [str(row['class']) for row in self.class_table if not row['pixels']]
        if absent:
            some = ', '.join(absent[:10]) + (', ...' if len(absent) > 10 else '')
            print_log(
                f'{len(absent)} classes are in no label map: {some}', logger='current', level=30
            )
        predicted = self.confusion.sum(0).nonzero().flatten().tolist()
        if len(predicted) == 1 < len(names):
            warn_constant(f'All pixels are predicted as {names[predicted[0]]!r}')
        prefix = f'{self.prefix}/' if self.prefix else ''
        return {f'{prefix}{name}': value for name, value in figures.items()}


def iou_figures(
    confusion: Tensor, classes: Sequence[str]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Turn pixels [classes, classes], truth by prediction, into percentages and a table."""
    if not confusion.sum():
        raise DatasetError(
            'not a single labelled pixel was evaluated: every label map holds the ignored id '
            'alone, or there was no image. Look at the label maps and at reduce_zero_label.'
        )
    hits = confusion.diagonal()
    labelled = confusion.sum(1)
    if len(classes) > 1 and labelled.count_nonzero() == 1:
        raise DatasetError(
            f'all labelled pixels are of the class {classes[int(labelled.argmax())]!r}, one of '
            f'{len(classes)}: no mean IoU. Look at the ids in the label maps (255 is ignored) and '
            'at reduce_zero_label.'
        )
    union = labelled + confusion.sum(0) - hits
    # 0 / 0 is NaN: such a class does not occur.
    iou, accuracy = 100 * hits.double() / union, 100 * hits.double() / labelled
    figures = {
        'mIoU': iou.nanmean().item(),
        'mAcc': accuracy.nanmean().item(),
        'aAcc': 100 * hits.sum().item() / confusion.sum().item(),
    }
    rows = zip(classes, iou.tolist(), accuracy.tolist(), labelled.tolist(), strict=True)
    return figures, [{'class': c, 'IoU': i, 'Acc': a, 'pixels': p} for c, i, a, p in rows]


def _ids(sample: dict, key: str) -> Tensor:
    """Return the ids [H, W] as int64."""
    data = torch.as_tensor(sample[key]['data'])
    require_finite(data, sample, 'labels')
    return data.reshape(data.shape[-2:]).long()


def _explain_strange(name: str, truth: Tensor, predicted: Tensor, classes: int) -> str:
    ids = sorted({i for i in truth.unique().tolist() if not 0 <= i < classes})
    if ids:
        return (
            f'{name}: its label map has the ids {ids[:8]}, the data set {classes} classes '
            f'(0 to {classes - 1}). Look at reduce_zero_label and at the list of classes.'
        )
    return (
        f'{name}: the model predicts class {int(predicted.max())}, the data set has {classes} '
        'classes. Set num_classes of the decode head to the number of classes.'
    )
