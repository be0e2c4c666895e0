"""Crops of pre-training and classification."""

import math

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from lightvit_dense.datasets.draws import Draws
from lightvit_dense.registry import TRANSFORMS

from .base import Changes, RandomChange, Transform

RESAMPLING = {'bicubic': Image.Resampling.BICUBIC, 'bilinear': Image.Resampling.BILINEAR}
_CV2 = {'bicubic': cv2.INTER_CUBIC, 'bilinear': cv2.INTER_LINEAR}
METHODS = ('bicubic', 'bilinear')
_TRIES = 10
BACKENDS = ('pillow', 'torch', 'cv2')
Box = tuple[float, float, float, float]


def resize_box(
    image: np.ndarray, box: Box, size: tuple[int, int], method: str, backend: str
) -> np.ndarray:
    """Cut (left, top, right, bottom) out of uint8 [H, W, 3]; resize it to (height, width)."""
    left, top, right, bottom = box
    # Cut first: filters look beyond a box given to resize, a crop ends where it ends.
    cut = image[int(top) : int(bottom), int(left) : int(right)]
    if backend == 'pillow':
        picture = Image.fromarray(np.ascontiguousarray(cut))
        return np.asarray(picture.resize(size[::-1], RESAMPLING[method]))
    if backend == 'torch':
        # [h, w, 3] -> [1, h, w, 3] -> [1, 3, h, w], a view. reshape, unlike None, gives the new
        # axis the stride by which torch knows that channels are last, and leaves them last.
        # torch takes no read-only memory.
        batch = np.require(cut, requirements=['C', 'W']).reshape(1, *cut.shape)
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2)
        resized = functional.interpolate(pixels, size, mode=method, antialias=True)
        return resized[0].permute(1, 2, 0).numpy()
    return cv2.resize(cut, size[::-1], interpolation=_CV2[method])


class _Resizing(Transform):
    """Checks what both crops take."""

    methods: tuple[str, ...] = METHODS

    def __init__(self, size: int | tuple[int, int], interpolation: str, backend: str) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if interpolation not in self.methods:
            raise ValueError(f'interpolation must be one of {self.methods}: {interpolation!r}')
        if backend not in BACKENDS:
            raise ValueError(f'backend must be one of {BACKENDS}, got {backend!r}')
        self.interpolation = interpolation
        self.backend = backend


@TRANSFORMS.register_module()
class RandomResizedCrop(_Resizing):
    """Crop of random area and aspect ratio, resized (torchvision's algorithm).

    Ten tries; when none fits into the image, the largest central crop of an allowed ratio. An
    image smaller than the wanted size is enlarged.

    Args:
        size: Wanted side, or (height, width), in pixels.
        scale: Least and greatest share of the image's area.
        ratio: Least and greatest width / height.
        interpolation: 'bicubic', 'bilinear', or 'random' for a fair coin.
        backend: 'pillow' (as torchvision), 'torch' (the same, faster) or 'cv2' (fastest, aliases
            when it shrinks a lot).
    """

    methods, slots = (*METHODS, 'random'), 2 * _TRIES + 3

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> None:
        super().__init__(size, interpolation, backend)
        if not 0 < scale[0] <= scale[1] or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'scale and ratio must be positive and ascending: {scale}, {ratio}')
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self._logs = math.log(ratio[0]) / 2, math.log(ratio[1]) / 2

    def draw(self, numbers: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        """Turn random numbers [N, slots] into crops of images (height, width) [N, 2].

        Returns int [N, 5]: top, left, height and width in pixels, and the place in METHODS.
        """
        (least, most), (low, high) = self.scale, self._logs
        side = np.sqrt(shapes.prod(1)[:, None] * (least + (most - least) * numbers[:, :_TRIES]))
        aspect = np.exp(low + (high - low) * numbers[:, _TRIES : 2 * _TRIES])
        tries = np.rint(np.stack([side / aspect, side * aspect], -1))  # [N, tries, 2]
        fits = ((tries > 0) & (tries <= shapes[:, None])).all(2)
        first = np.arange(len(fits)), fits.argmax(1)
        found, sides = fits[first][:, None], tries[first]
        if not found.all():
            central = np.rint(shapes[:, ::-1] / [self.ratio[0], 1 / self.ratio[1]])
            sides = np.where(found, sides, np.minimum(shapes, central).clip(1))
        spare, method = shapes - sides, len(METHODS) * numbers[:, -1:]
        if self.interpolation != 'random':
            method = np.full_like(method, METHODS.index(self.interpolation))
        corner = np.where(found, numbers[:, -3:-1] * (spare + 1), spare / 2)
        return np.hstack([corner, sides, method]).astype(int)

    def window(
        self, results: dict, shape: tuple[int, ...]
    ) -> tuple[tuple[int, int, int, int], str]:
        """Draw (left, top, right, bottom) for an image (height, width), and the interpolation."""
        draws, (height, width) = Draws.of(results), shape
        numbers = draws.take(self.slots)[[draws.row]]
        # For one image this is ten times as fast as `draw`.
        (least, most), (low, high), tries = self.scale, self._logs, numbers[0].tolist()
        for area, aspect in zip(tries[:_TRIES], tries[_TRIES:-3], strict=True):
            side = math.sqrt(height * width * (least + (most - least) * area))
            aspect = math.exp(low + (high - low) * aspect)
            h, w = round(side / aspect), round(side * aspect)
            if 0 < h <= height and 0 < w <= width:
                top, left = int(tries[-3] * (height - h + 1)), int(tries[-2] * (width - w + 1))
                method = METHODS[tries[-1] >= 0.5]
                box = left, top, left + w, top + h
                return box, method if self.interpolation == 'random' else self.interpolation
        top, left, h, w, number = self.draw(numbers, np.array([shape]))[0].tolist()
        return (left, top, left + w, top + h), METHODS[number]

    def transform(self, results: dict) -> dict:
        """Crop and resize 'img' (uint8 [H, W, 3])."""
        box, method = self.window(results, results['img'].shape[:2])
        results['img'] = resize_box(results['img'], box, self.size, method, self.backend)
        results['img_shape'] = self.size
        return results


@TRANSFORMS.register_module()
class CenterResizedCrop(_Resizing):
    """Evaluation's usual view: the shorter side is resized, then the centre is cut out.

    The pixels are those of torchvision's ``Resize(size / ratio)`` and ``CenterCrop(size)`` on PIL
    images, which is timm's evaluation too, bit for bit. Cutting first would be faster, but filters
    would end where the crop does, and start at other fractions of a pixel.

    Args:
        size: Wanted side, or (height, width), in pixels.
        ratio: Part of the resized image's shorter side that is kept, timm's ``crop_pct``.
        interpolation: 'bicubic' or 'bilinear'.
        backend: 'pillow' (as torchvision), 'torch' (nearly the same, faster) or 'cv2'.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        ratio: float = 224 / 256,
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> None:
        super().__init__(size, interpolation, backend)
        if not 0 < ratio <= 1:
            raise ValueError(f'ratio must lie in (0, 1], got {ratio}')
        self.ratio = ratio

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the resized image, rounded as torchvision and timm do."""
        rows, columns = (math.floor(side / self.ratio) for side in self.size)
        if rows == columns:
            short = min(height, width)
            return int(rows * height / short), int(rows * width / short)
        ratio = min(height / rows, width / columns)  # timm's, for views that are no squares
        return round(height / ratio), round(width / ratio)

    def transform(self, results: dict) -> dict:
        """Resize 'img' and cut its centre out (uint8 [H, W, 3])."""
        image, (height, width) = results['img'], self.size
        rows, columns = self._resized(*image.shape[:2])
        whole = (0, 0, image.shape[1], image.shape[0])
        image = resize_box(image, whole, (rows, columns), self.interpolation, self.backend)
        top, left = round((rows - height) / 2), round((columns - width) / 2)
        results['img'] = np.ascontiguousarray(image[top : top + height, left : left + width])
        results['img_shape'] = self.size
        return results


@TRANSFORMS.register_module()
class RandomFlip(RandomChange):
    """Mirror an image with a probability."""

    ops = ('flip',)

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Swap left and right."""
        return image[:, ::-1]


@TRANSFORMS.register_module()
class RandomFlipFlag(RandomFlip):
    """Decide, with a probability, whether an image is flipped; the data preprocessor does it.

    :class:`PackImage` hands the decision on, and :class:`ImagePreprocessor` carries it out on the
    device. It is drawn here so that it depends on the seed of the sample alone. mmcv's key 'flip'
    is another one: it says that an image has been flipped.
    """

    def transform(self, results: dict) -> dict:
        """Set 'flip_flag'."""
        results['flip_flag'] = Draws.of(results).draw(self)[0] == [0]
        return results
