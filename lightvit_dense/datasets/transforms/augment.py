"""Crops of pre-training and classification."""

import math

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from lightvit_dense.registry import TRANSFORMS

_PIL = {'bicubic': Image.Resampling.BICUBIC, 'bilinear': Image.Resampling.BILINEAR}
_CV2 = {'bicubic': cv2.INTER_CUBIC, 'bilinear': cv2.INTER_LINEAR}
METHODS = ('bicubic', 'bilinear')
Box = tuple[float, float, float, float]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def resize_box(
    image: np.ndarray, box: Box, size: tuple[int, int], method: str, backend: str
) -> np.ndarray:
    """Cut a box out of an image and resize it.

    Args:
        image: uint8 [H, W, 3].
        box: (left, top, right, bottom) in pixels.
        size: Wanted (height, width).
        method: 'bicubic' or 'bilinear'.
        backend: 'pillow' filters before it shrinks, as torchvision does; 'cv2' does not, and is
            faster.

    Returns:
        uint8 [height, width, 3].
    """
    left, top, right, bottom = box
    if backend == 'pillow':
        # Cut first: filters look beyond a box given to resize, a crop ends where it ends.
        cut = image[int(top) : int(bottom), int(left) : int(right)]
        picture = Image.fromarray(np.ascontiguousarray(cut))
        return np.asarray(picture.resize(size[::-1], _PIL[method]))
    cut = image[int(top) : int(bottom), int(left) : int(right)]
    return cv2.resize(cut, size[::-1], interpolation=_CV2[method])


class _Resizing(BaseTransform):
    """Checks what both crops take."""

    def __init__(self, size: int | tuple[int, int], interpolation: str, backend: str) -> None:
        self.size = _pair(size)
        if interpolation not in (*METHODS, 'random'):
            raise ValueError(f'interpolation must be one of {METHODS} or random: {interpolation!r}')
        if backend not in ('pillow', 'cv2'):
            raise ValueError(f"backend must be 'pillow' or 'cv2', got {backend!r}")
        self.interpolation = interpolation
        self.backend = backend

    def _apply(self, results: dict, box: Box) -> dict:
        method = self.interpolation
        if method == 'random':
            method = METHODS[np.random.randint(len(METHODS))]
        results['img'] = resize_box(results['img'], box, self.size, method, self.backend)
        results['img_shape'] = self.size
        return results


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
        backend: 'pillow' (as torchvision) or 'cv2' (faster, aliases when it shrinks a lot).
    """

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

    def draw(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw a crop for an image.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Returns:
            (left, top, right, bottom) in pixels.
        """
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = height * width * np.random.uniform(self.scale[0], self.scale[1])
            aspect = math.exp(np.random.uniform(low, high))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top = np.random.randint(height - h + 1)
                left = np.random.randint(width - w + 1)
                return left, top, left + w, top + h
        w, h = width, height
        if width / height < self.ratio[0]:
            h = max(1, min(height, round(width / self.ratio[0])))
        elif width / height > self.ratio[1]:
            w = max(1, min(width, round(height * self.ratio[1])))
        top, left = (height - h) // 2, (width - w) // 2
        return left, top, left + w, top + h

    def transform(self, results: dict) -> dict:
        """Crop and resize 'img'.

        Args:
            results: Dict with 'img', uint8 [H, W, 3].

        Returns:
            The dict with the new 'img' and 'img_shape'.
        """
        return self._apply(results, self.draw(*results['img'].shape[:2]))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, '
            f'interpolation={self.interpolation!r}, backend={self.backend!r})'
        )


@TRANSFORMS.register_module()
class CenterResizedCrop(_Resizing):
    """The central share of an image, resized: evaluation's usual view.

    Args:
        size: Wanted side, or (height, width), in pixels.
        share: Share of the longest possible crop's side that is kept (224 / 256 is usual).
        interpolation: 'bicubic' or 'bilinear'.
        backend: 'pillow' (as torchvision) or 'cv2'.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        share: float = 224 / 256,
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> None:
        super().__init__(size, interpolation, backend)
        if not 0 < share <= 1:
            raise ValueError(f'share must lie in (0, 1], got {share}')
        self.share = share

    def transform(self, results: dict) -> dict:
        """Crop and resize 'img'.

        Args:
            results: Dict with 'img', uint8 [H, W, 3].

        Returns:
            The dict with the new 'img' and 'img_shape'.
        """
        height, width = results['img'].shape[:2]
        scale = self.share * min(height / self.size[0], width / self.size[1])
        h, w = (max(1, round(side * scale)) for side in self.size)
        top, left = (height - h) // 2, (width - w) // 2
        return self._apply(results, (left, top, left + w, top + h))
