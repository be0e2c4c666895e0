"""Test-time augmentation of segmentors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from ...registry import MODELS
from .views import bare, split_views


@contextmanager
def _keeping_scores(model: Any) -> Iterator[None]:
    """Let a segmentor that gives labels only give its scores, too, inside the block."""
    if getattr(model, 'keep_scores', True):
        yield
        return
    model.keep_scores = True
    try:
        yield
    finally:
        model.keep_scores = False


@MODELS.register_module()
class SegmentationTTA(BaseTTAModel):
    """Average the class probabilities of several views of an image.

    The result is that of mmseg's ``SegTTAModel``. That one keeps the scores of all views, which for
    150 classes and the larger images of ADE20K are gigabytes each; here one sum is kept.

    ``module`` is the segmentor, or its config, in which case ``data_preprocessor`` takes the place
    of the segmentor's.
    """

    def test_step(self, data: dict[str, list]) -> list[BaseDataElement]:
        """Segment a batch of ``mmcv.TestTimeAug``, collated; return the first view's samples."""
        merged: Sequence[BaseDataElement] = []
        sums: list[Tensor] = []
        views = 0
        for view in split_views(data):
            with _keeping_scores(bare(self.module)):
                samples = self.module.test_step(view)
            views += 1
            for number, sample in enumerate(samples):
                scores = self._probabilities(sample.seg_logits.data)
                del sample.seg_logits
                if views == 1:
                    sums.append(scores)
                else:
                    sums[number] += scores
            if views == 1:
                merged = samples
            elif len(samples) != len(merged):
                raise ValueError(f'{len(merged)} images in a view and {len(samples)} in another')
        for sample, total in zip(merged, sums, strict=True):
            label_map = self._decide(total / views)
            sample.set_data({'pred_sem_seg': PixelData(data=label_map)})
        return list(merged)

    def merge_preds(self, data_samples_list: Any) -> list[BaseDataElement]:
        """Not used: :meth:`test_step` merges as the views come."""
        raise NotImplementedError('SegmentationTTA merges in test_step')

    @property
    def _classes(self) -> int:
        return int(bare(self.module).out_channels)

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Make probabilities of a view's scores [classes, H, W]."""
        if self._classes > 1:
            return scores.softmax(0)
        return scores.clone()  # mmseg gives sigmoids where there is one channel

    def _decide(self, probabilities: Tensor) -> Tensor:
        """Choose classes [1, H, W] by the probabilities [classes, H, W]."""
        if self._classes > 1:
            return probabilities.argmax(0, keepdim=True)
        threshold = bare(self.module).decode_head.threshold
        return (probabilities > threshold).to(torch.int64)
