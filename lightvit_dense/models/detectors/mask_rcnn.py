"""Mask R-CNN whose results do not depend on how images were padded."""

from collections.abc import Sequence
from typing import Any

from mmdet.models import MaskRCNN as MMDetMaskRCNN
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from ...registry import MODELS
from ..pad_shape import (
    Size,
    check_pad_shape,
    common_pad_shape,
    group_by_pad_shape,
    own_sizes,
    pad_images,
)
from .masks import CroppedMasks


@MODELS.register_module(force=True)
class MaskRCNN(MMDetMaskRCNN):
    """mmdet's ``MaskRCNN`` that pads every image by itself.

    Plain backbones attend to padding, so padding is part of the network: ViTDet pads all images to
    one square. Here the padded shape follows from the image alone. In prediction images are cut out
    of the padding of their batch, grouped by padded shape and padded with zeros, the mean colour.
    In training all images get the largest padded shape of their batch, and all anchors count.
    Raises ValueError if ``pad_shape`` is not a multiple of ``size_divisor``.

    Args:
        pad_shape: Least side, or (height, width), of a padded image; ``None`` for none.
        size_divisor: Larger sides are rounded up to a multiple of it.
    """

    task = 'detection'

    def __init__(
        self,
        *args: Any,
        pad_shape: int | Sequence[int] | None = None,
        size_divisor: int = 32,
        **kwargs: Any,
    ) -> None:
        self.pad_shape = check_pad_shape(pad_shape, size_divisor)
        self.size_divisor = size_divisor
        super().__init__(*args, **kwargs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """Return the losses of normalised images [B, 3, H, W]."""
        batch_inputs, pad_shape, sizes = self._pad(batch_inputs, batch_data_samples)
        for sample, size in zip(batch_data_samples, sizes, strict=True):
            if 'masks' in sample.gt_instances:
                # Targets of boxes at the border read beyond it: masks are padded as images are.
                masks = masks_on_pad_shape(sample.gt_instances.masks, size, pad_shape)
                if isinstance(masks, CroppedMasks):
                    masks = masks.to(batch_inputs.device, non_blocking=True)
                sample.gt_instances.masks = masks
        return super().loss(batch_inputs, batch_data_samples)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Detect in normalised images [B, 3, H, W]; return the samples, in order, filled."""
        sizes = own_sizes(batch_inputs, [sample.metainfo for sample in batch_data_samples])
        groups = group_by_pad_shape(sizes, self.pad_shape, self.size_divisor)
        for pad_shape, numbers in groups.items():
            samples = [batch_data_samples[number] for number in numbers]
            _tell_pad_shape(samples, pad_shape)
            images = pad_images(batch_inputs[numbers], [sizes[i] for i in numbers], pad_shape)
            super().predict(images, samples, rescale=rescale)
        return batch_data_samples

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple:
        """Return the raw outputs of the heads, with all images padded alike."""
        if batch_data_samples is None:
            batch_data_samples = [DetDataSample() for _ in batch_inputs]
            for sample in batch_data_samples:
                sample.set_metainfo(dict(img_shape=tuple(batch_inputs.shape[2:])))
        batch_inputs, _, _ = self._pad(batch_inputs, batch_data_samples)
        return super()._forward(batch_inputs, batch_data_samples)

    def _pad(self, inputs: Tensor, samples: list[DetDataSample]) -> tuple[Tensor, Size, list[Size]]:
        """Pad a batch to its largest padded shape; return that and the images' own sizes, too."""
        sizes = own_sizes(inputs, [sample.metainfo for sample in samples])
        pad_shape = common_pad_shape(sizes, self.pad_shape, self.size_divisor)
        _tell_pad_shape(samples, pad_shape)
        return pad_images(inputs, sizes, pad_shape), pad_shape, sizes


def masks_on_pad_shape(
    masks: BitmapMasks | PolygonMasks | CroppedMasks, size: Size, pad_shape: Size
) -> PolygonMasks | CroppedMasks:
    """Place instance masks of an image of a size on its padded shape; bitmaps are cropped."""
    if isinstance(masks, BitmapMasks):
        cut = masks.masks[:, : size[0], : size[1]]
        masks = CroppedMasks.of(BitmapMasks(cut, *cut.shape[1:]))
    return masks.pad(pad_shape)


def _tell_pad_shape(samples: Sequence[DetDataSample], pad_shape: Size) -> None:
    """Write the padded shape where mmdet's heads look for it."""
    for sample in samples:
        sample.set_metainfo(dict(batch_input_shape=pad_shape, pad_shape=pad_shape))
