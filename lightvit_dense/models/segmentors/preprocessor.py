"""Batches of images of several sizes for testing a segmentor."""

from typing import Any

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from ...registry import MODELS


@MODELS.register_module(force=True)
class SegmentationPreprocessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` without ``test_cfg``; in testing images differ in size.

    They are normalised and padded with zeros at the right and the bottom to the largest of the
    batch; :class:`~lightvit_dense.models.segmentors.encoder_decoder.EncoderDecoder` cuts the
    padding off again by their ``img_shape``. In training it is mmseg's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('test_cfg') is not None:
            raise ValueError(
                'SegmentationPreprocessor: there is no test_cfg; in testing the segmentor decides '
                'what images are padded to (its pad_shape and size_divisor)'
            )
        super().__init__(*args, **kwargs)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise and stack a batch: ``inputs`` [B, 3, H, W] and ``data_samples``."""
        if training:
            return super().forward(data, training)
        images = [self._normalise(image) for image in self.cast_data(data['inputs'])]
        samples = self.cast_data(data.get('data_samples'))
        if samples is None:
            samples = [
                SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
                for size in (tuple(image.shape[1:]) for image in images)
            ]
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        padded = [
            F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))
            for image in images
        ]
        return dict(inputs=torch.stack(padded), data_samples=samples)

    def _normalise(self, image: torch.Tensor) -> torch.Tensor:
        """Return a normalised image [3, h, w]; grey ones keep their channel."""
        if self._channel_conversion and len(image) == 3:
            image = image.flip(0)
        image = image.float()
        return (image - self.mean) / self.std if self._enable_normalize else image
