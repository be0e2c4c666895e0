"""Mask R-CNN whose results do not depend on how images were padded."""

from collections.abc import Sequence
from typing import Any

from mmdet.models import MaskRCNN as MMDetMaskRCNN
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from ...registry import MODELS
from ..canvas import Size, check_canvas, common_canvas, group_by_canvas, own_sizes, put_on_canvas


@MODELS.register_module(force=True)
class MaskRCNN(MMDetMaskRCNN):
    """mmdet's ``MaskRCNN`` that puts every image on a canvas of its own.

    Plain backbones attend to padding, so padding is part of the network: ViTDet pads all images to
    one square. Here the canvas follows from the image alone. In prediction images are cut out of
    the padding of their batch, grouped by canvas and padded with zeros, the mean colour. In
    training all images get the largest canvas of their batch, and all anchors on it count.

    Args:
        *args: As mmdet's.
        canvas: Side, or (height, width), that the canvas has at least; ``None`` for none.
        size_divisor: Larger sides are rounded up to a multiple of it.
        **kwargs: As mmdet's.

    Raises:
        ValueError: If the canvas is not a multiple of ``size_divisor``.
    """

    def __init__(
        self,
        *args: Any,
        canvas: int | Sequence[int] | None = None,
        size_divisor: int = 32,
        **kwargs: Any,
    ) -> None:
        self.canvas = check_canvas(canvas, size_divisor)
        self.size_divisor = size_divisor
        super().__init__(*args, **kwargs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """Return the losses of a batch.

        Args:
            batch_inputs: Normalised images [B, 3, H, W].
            batch_data_samples: Their truth and their ``img_shape``.
        """
        batch_inputs, canvas, sizes = self._spread(batch_inputs, batch_data_samples)
        for sample, size in zip(batch_data_samples, sizes, strict=True):
            if 'masks' in sample.gt_instances:
                # Targets of boxes at the border read beyond it: there must be canvas there.
                masks = sample.gt_instances.masks
                sample.gt_instances.masks = masks_on_canvas(masks, size, canvas)
        return super().loss(batch_inputs, batch_data_samples)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Detect.

        Args:
            batch_inputs: Normalised images [B, 3, H, W].
            batch_data_samples: Their ``img_shape``, and what mmdet asks for besides.
            rescale: Whether boxes and masks are those of the original images.

        Returns:
            The samples with ``pred_instances``, in the order given.
        """
        sizes = own_sizes(batch_inputs, [sample.metainfo for sample in batch_data_samples])
        groups = group_by_canvas(sizes, self.canvas, self.size_divisor)
        for canvas, numbers in groups.items():
            samples = [batch_data_samples[number] for number in numbers]
            _tell_canvas(samples, canvas)
            images = put_on_canvas(batch_inputs[numbers], [sizes[i] for i in numbers], canvas)
            super().predict(images, samples, rescale=rescale)
        return batch_data_samples

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple:
        """Return the raw outputs of the heads, with all images on one canvas."""
        if batch_data_samples is None:
            batch_data_samples = [DetDataSample() for _ in batch_inputs]
            for sample in batch_data_samples:
                sample.set_metainfo(dict(img_shape=tuple(batch_inputs.shape[2:])))
        batch_inputs, _, _ = self._spread(batch_inputs, batch_data_samples)
        return super()._forward(batch_inputs, batch_data_samples)

    def _spread(
        self, inputs: Tensor, samples: list[DetDataSample]
    ) -> tuple[Tensor, Size, list[Size]]:
        """Put a batch on its largest canvas; return that and the sizes of the images, too."""
        sizes = own_sizes(inputs, [sample.metainfo for sample in samples])
        canvas = common_canvas(sizes, self.canvas, self.size_divisor)
        _tell_canvas(samples, canvas)
        return put_on_canvas(inputs, sizes, canvas), canvas, sizes


def masks_on_canvas(
    masks: BitmapMasks | PolygonMasks, size: Size, canvas: Size
) -> BitmapMasks | PolygonMasks:
    """Cut instance masks to their image and put them on a canvas.

    Args:
        masks: Masks of at least the image's size.
        size: (height, width) of the image.
        canvas: (height, width) of the result.
    """
    if isinstance(masks, PolygonMasks):
        return PolygonMasks(masks.masks, *canvas)
    if (masks.height, masks.width) == size == canvas:
        return masks
    cut = masks.masks[:, : size[0], : size[1]]
    return BitmapMasks(cut, *cut.shape[1:]).pad(canvas)


def _tell_canvas(samples: Sequence[DetDataSample], canvas: Size) -> None:
    """Write the canvas where mmdet's heads look for the size of the padded image."""
    for sample in samples:
        sample.set_metainfo(dict(batch_input_shape=canvas, pad_shape=canvas))
