"""Photometric augmentations, with torchvision's arithmetic, and timm's RandAugment."""

import math
import re
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.compat.pillow_posterize import allow_zero_bits
from lightvit_dense.registry import TRANSFORMS
from lightvit_dense.utils.constants import IMAGENET_MEAN

from .augment import RESAMPLING
from .base import Transform

_POLICY = re.compile(r'rand(-(mstd|mmax|inc|m|n|p)\d+(\.\d+)?|-t[a-z]*)*')


class RandomPhotometric(Transform):
    """What all transforms here share: 'img' is RGB and changes with some probability."""

    change: Callable[[np.ndarray], np.ndarray]  # returns a changed copy of uint8 [H, W, 3]

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob} is no probability')
        self.prob = prob

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


@TRANSFORMS.register_module()
class ColorJitter(RandomPhotometric):
    """Change brightness, contrast, saturation and hue, each by a random factor, in random order.

    Args:
        brightness: Factors are drawn from [max(0, 1 - b), 1 + b]; 0 leaves the brightness alone.
        contrast: The same.
        saturation: The same.
        hue: Shifts are drawn from [-hue, hue], a share of the colour circle, at most 0.5.
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
        from torchvision.transforms import functional  # takes seconds to import

        picture, names = Image.fromarray(image), ('brightness', 'contrast', 'saturation', 'hue')
        for index in np.random.permutation(len(names)):
            name = names[index]
            strength = getattr(self, name)
            if strength:
                low, centre = (-strength, 0.0) if name == 'hue' else (max(0.0, 1 - strength), 1.0)
                factor = float(np.random.uniform(low, centre + strength))
                picture = getattr(functional, f'adjust_{name}')(picture, factor)
        return np.asarray(picture)


@TRANSFORMS.register_module()
class RandomGrayscale(RandomPhotometric):
    """Take the colour away with a probability; the image keeps three channels."""

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def change(self, image: np.ndarray) -> np.ndarray:
        """Repeat the grey in all channels."""
        return np.asarray(Image.fromarray(image).convert('L').convert('RGB'))


@TRANSFORMS.register_module()
class GaussianBlur(RandomPhotometric):
    """Blur by a Gaussian of random width, mirrored at the borders.

    Args:
        sigma: Least and greatest standard deviation in pixels.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f'GaussianBlur: sigma={tuple(sigma)} must be positive and ascending')
        self.sigma = (low, high)

    def change(self, image: np.ndarray) -> np.ndarray:
        """Blur by a random width; the kernel reaches four of them to each side."""
        sigma = float(np.random.uniform(*self.sigma))
        side = 2 * math.ceil(4 * sigma) + 1
        return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


@TRANSFORMS.register_module()
class Solarize(RandomPhotometric):
    """Invert what is bright: values from ``threshold`` (0..256) on."""

    def __init__(self, prob: float = 0.2, threshold: int = 128) -> None:
        super().__init__(prob)
        if not 0 <= threshold <= 256:
            raise ValueError(f'Solarize: threshold={threshold} is not within 0..256')
        self.threshold = threshold

    def change(self, image: np.ndarray) -> np.ndarray:
        """Invert."""
        return np.where(image < self.threshold, image, 255 - image).astype(np.uint8)


@TRANSFORMS.register_module()
class RandAugment(Transform):
    """RandAugment in timm's implementation and notation.

    In timm, and so in DeiT's and MAE's recipes, colour jitter is switched off beside it, whatever
    strength is given.

    Args:
        policy: timm's string, e.g. 'rand-m9-mstd0.5-inc1': magnitude 9, its deviation, and
            operations that get stronger with it.
        mean: RGB colour of 0..255 that fills what a rotation or shift leaves empty.
    """

    def __init__(
        self,
        policy: str = 'rand-m9-mstd0.5-inc1',
        mean: Sequence[float] = IMAGENET_MEAN,
        interpolation: str = 'bicubic',
    ) -> None:
        from timm.data.auto_augment import rand_augment_transform  # takes seconds to import

        if interpolation not in RESAMPLING:
            raise ValueError(f'interpolation must be one of {tuple(RESAMPLING)}: {interpolation!r}')
        self.policy = policy
        self.interpolation = interpolation
        options = dict(
            img_mean=tuple(min(255, round(value)) for value in mean),
            interpolation=RESAMPLING[interpolation],
        )
        # timm passes over what it does not know.
        if not _POLICY.fullmatch(policy):
            raise ValueError(
                f"policy {policy!r} is none of timm's, which look like 'rand-m9-mstd0.5-inc1'"
            )
        self.augment = rand_augment_transform(policy, options)
        allow_zero_bits(self.augment.ops)

    def transform(self, results: dict) -> dict:
        """Augment 'img' (uint8 RGB [H, W, 3])."""
        picture = Image.fromarray(np.ascontiguousarray(results['img']))
        results['img'] = np.asarray(self.augment(picture))
        return results
