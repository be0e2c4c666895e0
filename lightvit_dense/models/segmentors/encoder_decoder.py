"""Semantic segmentation whose results do not depend on how images were padded."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError
from ...registry import MODELS
from ...utils.finite import require_finite
from ..pad_shape import (
    Size,
    check_pad_shape,
    common_pad_shape,
    group_by_pad_shape,
    own_sizes,
    pad_images,
    pad_shape_of,
)
from .labels import label_map


@MODELS.register_module(force=True)
class EncoderDecoder(MMSegEncoderDecoder):
    """mmseg's ``EncoderDecoder`` for images of any size, each padded by itself.

    Images are cut out of the padding of their batch, grouped by padded shape and padded with zeros,
    the mean colour; scores are cropped to the images. A padded image has at least ``pad_shape``,
    and the window in mode 'slide'. Larger sides are rounded up to a multiple of ``size_divisor``,
    but for windows, which slide over the image as it is. In training all images get the largest
    padded shape of their batch, and the padding is ignored in the truth. Raises ValueError if
    shapes are not multiples of ``size_divisor``, or windows would leave pixels out, UserError if a
    head has a single channel.

    Args:
        pad_shape: Least side, or (height, width), of a padded image.
        size_divisor: What sides of padded images and windows are multiples of.
        keep_scores: Whether predictions carry ``seg_logits``, gigabytes for many classes and large
            images. Test-time augmentation needs them.
    """

    task = 'segmentation'

    def __init__(
        self,
        *args: Any,
        pad_shape: int | Sequence[int] | None = None,
        size_divisor: int = 32,
        keep_scores: bool = True,
        **kwargs: Any,
    ) -> None:
        with warnings.catch_warnings():
            # mmseg advises two classes to take one channel.
            warnings.filterwarnings('ignore', 'For binary segmentation')
            super().__init__(*args, **kwargs)
        for key, head in self.named_modules():
            if getattr(head, 'conv_seg', None) is not None and head.out_channels == 1:
                raise UserError(
                    f'model.{key}: tells nothing apart with one class or channel, over which a '
                    'softmax is 1 everywhere. Let the background be a class, id 0 in the label '
                    "maps, as in metainfo=dict(classes=('background', 'thing')), and set "
                    'num_classes=2 without out_channels: two channels are what a sigmoid is.'
                )
        self.size_divisor = size_divisor
        self.keep_scores = keep_scores
        self.window, self.stride = _read_windows(self.test_cfg, size_divisor)
        self.pad_shape = pad_shape_of(
            check_pad_shape(pad_shape, size_divisor), self.window or (0, 0), 1
        )

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict:
        """Return the losses of normalised images [B, 3, H, W]."""
        sizes = own_sizes(inputs, [sample.metainfo for sample in data_samples])
        pad_shape = common_pad_shape(sizes, self.pad_shape, self.size_divisor)
        for sample, size in zip(data_samples, sizes, strict=True):
            padding = (0, pad_shape[1] - size[1], 0, pad_shape[0] - size[0])
            for name, field in sample.items():
                if isinstance(field, PixelData):
                    truth = field.data[:, : size[0], : size[1]]
                    truth = F.pad(truth, padding, value=self.decode_head.ignore_index)
                    setattr(sample, name, PixelData(data=truth))
            sample.set_metainfo(dict(pad_shape=pad_shape))
        try:
            return super().loss(pad_images(inputs, sizes, pad_shape), data_samples)
        except ValueError as error:
            if 'more than 1 value per channel' not in str(error):
                raise
            raise UserError(
                'batch normalisation of maps pooled to one pixel needs at least 2 images in a '
                'process: set train_dataloader.batch_size to 2 or more, with drop_last=True'
            ) from error

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Segment normalised images [B, 3, H, W] by their samples' ``img_shape`` and ``ori_shape``.

        Samples get ``pred_sem_seg`` [1, h, w] and, if they are kept, ``seg_logits`` [classes, h, w]
        at the size of the original images. NaN or infinite scores are a UserError.
        """
        if data_samples is None:
            size = tuple(inputs.shape[2:])
            data_samples = [
                SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in inputs
            ]
        sizes = own_sizes(inputs, [sample.metainfo for sample in data_samples])
        whole = self.window is None
        infer = self.whole_inference if whole else self.slide_inference
        divisor = self.size_divisor if whole else 1
        for pad_shape, numbers in group_by_pad_shape(sizes, self.pad_shape, divisor).items():
            images = pad_images(inputs[numbers], [sizes[i] for i in numbers], pad_shape)
            metas = [data_samples[number].metainfo for number in numbers]
            for number, scores in zip(numbers, infer(images, metas), strict=True):
                height, width = sizes[number]
                self._decide(scores[:, :height, :width], data_samples[number])
        return data_samples

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return class scores [B, classes, H, W] of images [B, 3, H, W]."""
        # A torch.Size is what mmseg's heads resize their scores to.
        size = torch.Size(inputs.shape[2:])
        metas = [{**meta, 'img_shape': size, 'pad_shape': size} for meta in batch_img_metas]
        return super().encode_decode(inputs, metas)

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Average the scores [B, classes, H, W] of windows that overlap."""
        assert self.window is not None
        batch, _, height, width = inputs.shape
        scores = inputs.new_zeros(batch, self.out_channels, height, width)
        times = inputs.new_zeros(1, 1, height, width)
        for rows in windows_along(height, self.window[0], self.stride[0]):
            for columns in windows_along(width, self.window[1], self.stride[1]):
                part = inputs[:, :, rows, columns]
                scores[:, :, rows, columns] += self.encode_decode(part, batch_img_metas)
                times[:, :, rows, columns] += 1
        return scores.div_(times)

    def _decide(self, scores: Tensor, sample: SegDataSample) -> None:
        """Write what the scores [classes, h, w] of an image say into its sample."""
        require_finite(scores, sample, 'scores')
        if self.keep_scores:
            # What the preprocessor padded is cut off already.
            sample.set_metainfo(dict(img_padding_size=(0, 0, 0, 0)))
            self.postprocess_result(scores[None], [sample])
            return
        if sample.get('flip'):
            scores = scores.flip(2 if sample.flip_direction == 'horizontal' else 1)
        labels = label_map(scores, tuple(sample.ori_shape[:2]), self.align_corners)
        sample.pred_sem_seg = PixelData(data=labels)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        """Return the raw scores of the decode head, with all images padded alike."""
        metas = [sample.metainfo for sample in data_samples or ()] or [{}] * len(inputs)
        sizes = own_sizes(inputs, metas)
        pad_shape = common_pad_shape(sizes, self.pad_shape, self.size_divisor)
        return super()._forward(pad_images(inputs, sizes, pad_shape), data_samples)


def _read_windows(test_cfg: dict | None, divisor: int) -> tuple[Size | None, Size]:
    """Return window and stride of mode 'slide'; the window is None in mode 'whole'."""
    test_cfg = test_cfg or {}
    mode = test_cfg.get('mode', 'whole')
    if mode not in ('slide', 'whole'):
        raise ValueError(f"test_cfg.mode is 'slide' or 'whole', got {mode!r}")
    if mode == 'whole':
        return None, (0, 0)
    for key in ('crop_size', 'stride'):
        if not test_cfg.get(key):
            raise ValueError(f"test_cfg.mode='slide' needs test_cfg.{key} = (height, width)")
    window = check_pad_shape(test_cfg['crop_size'], divisor, 'test_cfg.crop_size')
    stride = check_pad_shape(test_cfg['stride'], 1, 'test_cfg.stride')
    if min(stride) < 1 or any(step > side for step, side in zip(stride, window, strict=True)):
        raise ValueError(
            f'test_cfg.stride={stride} with windows of {window} px would leave pixels out'
        )
    return window, stride


def windows_along(length: int, window: int, stride: int) -> Iterator[slice]:
    """Yield windows along one axis; the last one is moved back into the image."""
    for number in range(max(length - window + stride - 1, 0) // stride + 1):
        end = min(number * stride + window, length)
        yield slice(end - window, end)
