"""Photometric augmentations, with torchvision's arithmetic, and timm's RandAugment."""

import math
import re
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.compat.pillow_posterize import allow_zero_bits
from lightvit_dense.registry import TRANSFORMS
from lightvit_dense.utils.constants import IMAGENET_MEAN

from .augment import RESAMPLING
from .base import Changes, RandomChange

_ENHANCED = ('Color', 'Contrast', 'Brightness', 'Sharpness')
_JITTER = ('brightness', 'contrast', 'saturation', 'hue')
# Of timm's operations: level at magnitude 0, its growth up to 10, least, greatest, whether it has a
# random sign, and is a whole number.
_LEVELS = {
    **dict.fromkeys(('AutoContrast', 'Equalize', 'Invert'), (0, 0, 0, 0, 0, 0)),
    **{name: (0.1, 1.8, 0, 99, 0, 0) for name in _ENHANCED},
    **{f'{name}Increasing': (1, 0.9, 0.1, 99, 1, 0) for name in _ENHANCED},
    **{f'Shear{axis}': (0, 0.3, -99, 99, 1, 0) for axis in 'XY'},
    **{f'Translate{axis}Rel': (0, 0.45, -99, 99, 1, 0) for axis in 'XY'},
    **dict(Rotate=(0, 30, -999, 999, 1, 0), SolarizeAdd=(0, 110, 0, 128, 0, 1)),
    **dict(Posterize=(0, 4, 0, 8, 0, 1), PosterizeIncreasing=(4, -4, -9, 4, 0, 1)),
    **dict(Solarize=(0, 256, 0, 256, 0, 1), SolarizeIncreasing=(256, -256, 0, 256, 0, 1)),
}
_POLICY = re.compile(r'rand(-(mstd|mmax|inc|m|n|p)\d+(\.\d+)?|-t[a-z]*)*')


@TRANSFORMS.register_module()
class ColorJitter(RandomChange):
    """Change brightness, contrast, saturation and hue, each by a random factor, in random order.

    Args:
        brightness: Factors are drawn from [max(0, 1 - b), 1 + b]; 0 leaves the brightness alone.
        contrast: The same.
        saturation: The same.
        hue: Shifts are drawn from [-hue, hue], a share of the colour circle, at most 0.5.
    """

    ops, slots = _JITTER, 9

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
        ranges = [(max(0.0, 1 - most), 1 + most) for most in (brightness, contrast, saturation)]
        self._least, most = np.array([*ranges, (-hue, hue)]).T
        self._span = most - self._least

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw which operation comes when, and its factor; one of strength 0 is left out."""
        order = numbers[:, 1:5].argsort(1)
        factors = self._least[order] + self._span[order] * numbers[:, 5:]
        changes = (numbers[:, :1] < self.prob) & (self._span[order] > 0)
        return np.where(changes, order, -1), factors[..., None]

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Change one after the other."""
        from torchvision.transforms import functional  # takes seconds to import

        picture = Image.fromarray(image)
        for name, (factor,) in changes:
            picture = getattr(functional, f'adjust_{name}')(picture, factor)
        return np.asarray(picture)


@TRANSFORMS.register_module()
class RandomGrayscale(RandomChange):
    """Take the colour away with a probability; the image keeps three channels."""

    ops = ('grayscale',)

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Repeat the grey in all channels."""
        return np.asarray(Image.fromarray(image).convert('L').convert('RGB'))


@TRANSFORMS.register_module()
class GaussianBlur(RandomChange):
    """Blur by a Gaussian of random width, mirrored at the borders.

    Args:
        sigma: Least and greatest standard deviation in pixels.
    """

    ops = ('blur',)

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f'GaussianBlur: sigma={tuple(sigma)} must be positive and ascending')
        self.sigma = self._low, self._high = low, high
        self._columns = math.ceil(4 * high) + 1  # a weight each of half the widest kernel

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Blur; the kernel reaches four widths to each side."""
        sigma = changes[0][1][0]
        side = 2 * math.ceil(4 * sigma) + 1
        return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


@TRANSFORMS.register_module()
class Solarize(RandomChange):
    """Invert what is bright: values from ``threshold`` (0..256) on."""

    ops = ('solarize',)

    def __init__(self, prob: float = 0.2, threshold: int = 128) -> None:
        super().__init__(prob)
        if not 0 <= threshold <= 256:
            raise ValueError(f'Solarize: threshold={threshold} is not within 0..256')
        self.threshold = self._low = self._high = threshold

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Invert."""
        return np.where(image < changes[0][1][0], image, 255 - image).astype(np.uint8)


@TRANSFORMS.register_module()
class RandAugment(RandomChange):
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
        super().__init__(1.0)
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
        names = [op.aug_fn.__name__ for op in self.augment.ops]
        moves = ('rotate', 'shear', 'translate')
        self.ops = tuple(n + f'_{interpolation}' * n.startswith(moves) for n in names)
        self._changes = dict(zip(self.ops, self.augment.ops, strict=True))
        self._rotates, self._masks = (np.array(names) == name for name in ('rotate', 'posterize'))
        self._levels = np.array([_LEVELS[op.name] for op in self.augment.ops]).T
        layers, weights = self.augment.num_layers, self.augment.choice_weights
        self.slots = 4 * layers + (layers if weights is None else len(weights))

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw the operations of the layers and their strength, from timm's distributions."""
        layers, weights = self.augment.num_layers, self.augment.choice_weights
        chances, signs, one, other, choices = np.split(numbers, layers * np.arange(1, 5), 1)
        if weights is None:
            chosen = (len(self.ops) * choices).astype(int)
        else:  # without replacement: the first of exponential waiting times
            chosen = (np.log1p(-choices) / -weights).argsort(1)[:, :layers]
        some = self.augment.ops[0]
        normal = np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * np.pi * other)  # Box and Muller's
        if math.isinf(some.magnitude_std):
            magnitude = some.magnitude * one
        else:
            magnitude = some.magnitude + some.magnitude_std * normal
        magnitude = magnitude.clip(0, some.magnitude_max or 10) * np.where(signs < 0.5, 1, -1)
        parameters = self.columns(chosen, self.levels(chosen, magnitude))
        return np.where(chances < some.prob, chosen, -1), parameters

    def levels(self, chosen: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """Return timm's levels of operations at magnitudes, whose sign stands for a coin."""
        base, gain, low, high, signed, whole = self._levels[:, chosen]
        level = np.where(signed, magnitude, np.abs(magnitude)) / 10 * gain
        return (base + np.where(whole, np.trunc(level), level)).clip(low, high)

    def columns(self, chosen: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return the device's parameters [..., 6]: two, between them the fill, and timm's level."""
        angle = -np.radians(level % 360.0)
        first = np.where(self._rotates[chosen], np.cos(angle).round(15), level)  # Pillow's rounding
        first = np.where(self._masks[chosen], 256 - 2 ** (8 - np.maximum(level, 0)), first)
        fill = [np.full_like(level, value) for value in self.augment.ops[0].kwargs['fillcolor']]
        return np.stack([first, *fill, np.sin(angle).round(15), level], -1)

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Change an image by timm's functions, one after the other."""
        picture = Image.fromarray(np.ascontiguousarray(image))
        for name, (*_, level) in changes:
            op = self._changes[name]
            given = [] if op.level_fn is None else [int(level) if level.is_integer() else level]
            picture = op.aug_fn(picture, *given, **op.kwargs)
        return np.asarray(picture)
