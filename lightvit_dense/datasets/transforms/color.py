"""Photometric augmentations of contrastive pre-training, with torchvision's arithmetic."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance

from lightvit_dense.registry import TRANSFORMS

Range = tuple[float, float]


def _luma(image: np.ndarray) -> np.ndarray:
    """Return the ITU-R 601 grey [H, W] of an RGB image."""
    return np.asarray(Image.fromarray(image).convert('L'))


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black; factor 1 changes nothing. uint8 RGB [H, W, 3], as all functions here."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the image's mean grey; factor 1 changes nothing."""
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the grey picture; factor 1 changes nothing."""
    return np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(factor))


def adjust_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the colour circle by a share of it, in [-0.5, 0.5]; 0 changes nothing."""
    hsv = np.array(Image.fromarray(image).convert('HSV'))
    # The circle has 256 steps; an addition of eight bits goes round it.
    hsv[..., 0] += np.uint8(int(shift * 255) & 0xFF)
    return np.asarray(Image.fromarray(hsv, 'HSV').convert('RGB'))


class RandomPhotometric(BaseTransform):
    """What all transforms here share: 'img' is RGB and changes with some probability."""

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob} is no probability')
        self.prob = prob

    def change(self, image: np.ndarray) -> np.ndarray:
        """Return a changed copy of an image, uint8 [H, W, 3]."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Change 'img' or leave it (uint8 RGB [H, W, 3])."""
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} needs uint8 [H, W, 3], got {image.dtype} '
                f'{image.shape}; put it before any conversion to float'
            )
        if np.random.rand() < self.prob:
            results['img'] = self.change(image)
        return results

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({settings})'


@TRANSFORMS.register_module()
class ColorJitter(RandomPhotometric):
    """Change brightness, contrast, saturation and hue, each by a random factor, in random order.

    Args:
        brightness: Factors are drawn from [max(0, 1 - b), 1 + b]; 0 leaves the brightness alone.
        contrast: The same for contrast.
        saturation: The same for saturation.
        hue: Shifts are drawn from [-hue, hue], a share of the colour circle, at most 0.5.
        prob: Probability of a change.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                f'ColorJitter: needs brightness, contrast, saturation >= 0 and 0 <= hue <= 0.5, '
                f'got {brightness}, {contrast}, {saturation}, {hue}'
            )
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue

    def change(self, image: np.ndarray) -> np.ndarray:
        """Apply the four changes, those of strength 0 left out, in random order."""
        steps = [
            (adjust_brightness, self.brightness, 1.0),
            (adjust_contrast, self.contrast, 1.0),
            (adjust_saturation, self.saturation, 1.0),
            (adjust_hue, self.hue, 0.0),
        ]
        for index in np.random.permutation(len(steps)):
            function, strength, centre = steps[index]
            if strength:
                low = max(0.0, 1 - strength) if centre else -strength
                image = function(image, float(np.random.uniform(low, centre + strength)))
        return image


@TRANSFORMS.register_module()
class RandomGrayscale(RandomPhotometric):
    """Take the colour away; the image keeps three channels.

    Args:
        prob: Probability of a change.
    """

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def change(self, image: np.ndarray) -> np.ndarray:
        """Repeat the grey in all channels."""
        return np.repeat(_luma(image)[..., None], 3, axis=2)


@TRANSFORMS.register_module()
class GaussianBlur(RandomPhotometric):
    """Blur by a Gaussian of random width, mirrored at the borders.

    Args:
        sigma: Least and greatest standard deviation in pixels.
        prob: Probability of a change.

    Raises:
        ValueError: If the range is not positive and ascending.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f'GaussianBlur: sigma={tuple(sigma)} must be positive and ascending')
        self.sigma: Range = (low, high)

    def change(self, image: np.ndarray) -> np.ndarray:
        """Blur by a random width."""
        return gaussian_blur(image, float(np.random.uniform(*self.sigma)))


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image (uint8 [H, W, 3])."""
    side = 2 * math.ceil(4 * sigma) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


@TRANSFORMS.register_module()
class Solarize(RandomPhotometric):
    """Invert what is bright.

    Args:
        prob: Probability of a change.
        threshold: Values from this one on are inverted, 0..256.
    """

    def __init__(self, prob: float = 0.2, threshold: int = 128) -> None:
        super().__init__(prob)
        if not 0 <= threshold <= 256:
            raise ValueError(f'Solarize: threshold={threshold} is not within 0..256')
        self.threshold = threshold

    def change(self, image: np.ndarray) -> np.ndarray:
        """Invert."""
        return np.where(image < self.threshold, image, 255 - image).astype(np.uint8)
