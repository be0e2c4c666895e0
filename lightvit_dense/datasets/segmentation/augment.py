"""The augmentation of segmentation: mmseg's random numbers and pixels in less time."""

import math
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.image import bgr2hsv, hsv2bgr, rescale_size
from mmseg.datasets import transforms as mmseg

from lightvit_dense.datasets.transforms.segmentation import count_ids
from lightvit_dense.registry import TRANSFORMS

_VALUES = np.arange(256, dtype=np.uint8)


def contiguous(image: np.ndarray) -> np.ndarray:
    """Return an image [H, W, 3] without gaps; cv2 copies a mirrored view much faster than numpy."""
    return cv2.flip(image[:, ::-1], 1) if image.strides[1] < 0 else np.ascontiguousarray(image)


def resize_corner(image: np.ndarray, size: tuple[int, int], corner: tuple[int, int]) -> np.ndarray:
    """Return the upper left corner (rows, columns) of an image resized by cv2 to (height, width).

    Given factors in the place of a size, cv2 samples an image without its lower right part as it
    samples the whole one; the two pixels more are what it interpolates with.
    """
    factors = [new / old for new, old in zip(size, image.shape[:2], strict=True)]
    rows, columns = (math.ceil(end / f) + 2 for end, f in zip(corner, factors, strict=True))
    resized = cv2.resize(image[:rows, :columns], None, fx=factors[1], fy=factors[0])
    return resized[: corner[0], : corner[1]]


@TRANSFORMS.register_module(force=True)
class RandomScaleCrop(mmseg.RandomCrop):
    """``mmcv.RandomResize`` (``keep_ratio``) and ``mmseg.RandomCrop`` in one, with their result.

    The crop is drawn before the image is resized, which is then resized no further than the crop.

    Args:
        scale: (width, height) of the box that the image is fitted into, in pixels.
        ratio_range: Least and greatest factor of the box, drawn uniformly.
        **kwargs: As ``mmseg.RandomCrop``.
    """

    def __init__(
        self, scale: tuple[int, int], ratio_range: tuple[float, float], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scale, self.ratio_range = scale, ratio_range

    def _is_mixed(self, labels: np.ndarray) -> bool:
        """Whether no class takes too large a part of a crop."""
        counts = count_ids(labels)
        counts[self.ignore_index] = 0
        share = counts.max() / max(1, counts.sum())
        return bool(np.count_nonzero(counts) > 1 and share < self.cat_max_ratio)

    def _draw(self, labels: np.ndarray) -> tuple[int, int, int, int]:
        """Draw (top, bottom, left, right) of a crop, of resized labels [H, W]; eleven tries."""
        margins = [max(n - c, 0) for n, c in zip(labels.shape, self.crop_size, strict=True)]
        for tries_left in range(10, -1, -1):
            top, left = (np.random.randint(0, margin + 1) for margin in margins)
            box = top, top + self.crop_size[0], left, left + self.crop_size[1]
            if self.cat_max_ratio >= 1 or not tries_left or self._is_mixed(self.crop(labels, box)):
                break
        return box

    def transform(self, results: dict) -> dict:
        """Resize and crop 'img' ([H, W, 3]) and 'gt_seg_map' (uint8 [H, W])."""
        image, labels = results['img'], results['gt_seg_map']
        height, width = image.shape[:2]
        low, high = self.ratio_range
        factor = np.random.random_sample() * (high - low) + low
        columns, rows = rescale_size((width, height), tuple(int(n * factor) for n in self.scale))
        labels = cv2.resize(labels, (columns, rows), interpolation=cv2.INTER_NEAREST)
        box = self._draw(labels)
        corner = min(box[1], rows), min(box[3], columns)
        results['img'] = self.crop(resize_corner(image, (rows, columns), corner), box)
        results['gt_seg_map'] = self.crop(labels, box)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = columns / width, rows / height
        return results


@TRANSFORMS.register_module(force=True)
class PhotoMetricDistortion(mmseg.PhotoMetricDistortion):
    """mmseg's, with its pixels: what it does to the 256 values is computed, and then looked up."""

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """Return uint8 clip(img * alpha + beta)."""
        return cv2.LUT(img, super().convert(_VALUES, alpha, beta))

    def _change(self, image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
        """Look up a channel of the image's HSV."""
        hsv = bgr2hsv(image)
        cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
        return hsv2bgr(hsv)

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Scale the saturation of BGR, or leave it."""
        if not np.random.randint(2):
            return img
        factor = np.random.uniform(self.saturation_lower, self.saturation_upper)
        return self._change(img, 1, super().convert(_VALUES, factor))

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Turn the hue of BGR, or leave it."""
        if not np.random.randint(2):
            return img
        turn = np.random.randint(-self.hue_delta, self.hue_delta)
        return self._change(img, 0, ((_VALUES.astype(int) + turn) % 180).astype(np.uint8))

    def transform(self, results: dict) -> dict:
        """Distort 'img' (uint8 BGR [H, W, 3])."""
        if results['img'].dtype != np.uint8:
            raise ValueError(
                f'PhotoMetricDistortion needs uint8, got {results["img"].dtype}; put it before any '
                'conversion to float'
            )
        results['img'] = contiguous(results['img'])
        return super().transform(results)


@TRANSFORMS.register_module(force=True)
class PackSegmentation(mmseg.PackSegInputs):
    """``mmseg.PackSegInputs`` that leaves the channels last in memory; the device turns them."""

    def transform(self, results: dict) -> dict:
        """Pack 'img' [H, W, 3] as 'inputs' [3, H, W], and the label map."""
        image = contiguous(results.pop('img'))
        packed = super().transform(results)
        packed['inputs'] = torch.from_numpy(image).permute(2, 0, 1)  # a view
        return packed
