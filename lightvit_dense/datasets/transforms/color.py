"""Photometric augmentations, with torchvision's arithmetic, and timm's RandAugment."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.compat.pillow_posterize import allow_zero_bits
from lightvit_dense.registry import TRANSFORMS
from lightvit_dense.utils.constants import IMAGENET_MEAN

from .augment import RESAMPLING
from .base import Transform
from .draws import below, permutation, random, uniform

Parameters = tuple[float, ...]
Step = tuple[str, Parameters | None]
_JITTER = ('brightness', 'contrast', 'saturation', 'hue')
_UNCHANGED: list[Step] = [(_JITTER[0], None)] * 4
_POLICY = re.compile(r'rand(-(mstd|mmax|inc|m|n|p)\d+(\.\d+)?|-t[a-z]*)*')


class RandomPhotometric(Transform):
    """What all transforms here share: 'img' is RGB and changes with some probability."""

    op: str  # of DEVICE_OPS, which does what `apply` does
    apply: Callable[[np.ndarray, Any], np.ndarray]  # returns a changed copy of uint8 [H, W, 3]

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob} is no probability')
        self.prob = prob

    def draw(self) -> Any:
        """Draw the change's parameters, or None for an image that stays as it is."""
        return self.parameters() if random() < self.prob else None

    def parameters(self) -> Parameters:
        """Draw the parameters of an image that changes."""
        return (1.0,)

    def transform(self, results: dict) -> dict:
        """Change 'img' or leave it (uint8 RGB [H, W, 3])."""
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} needs uint8 [H, W, 3], got {image.dtype} '
                f'{image.shape}; put it before any conversion to float'
            )
        parameters = self.draw()
        if parameters is not None:
            results['img'] = self.apply(image, parameters)
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
        ranges = [(max(0.0, 1 - most), 1 + most) for most in (brightness, contrast, saturation)]
        self._ranges = [(n, *r) for n, r in zip(_JITTER, [*ranges, (-hue, hue)], strict=True)]

    def draw(self) -> list[Step]:
        """Draw which operation comes when, and its factor; one of strength 0 has none."""
        if random() >= self.prob:
            return _UNCHANGED
        order = [self._ranges[number] for number in permutation(4)]
        return [
            (name, (low + (high - low) * random(),) if low < high else None)
            for name, low, high in order
        ]

    def apply(self, image: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
        """Change one after the other."""
        from torchvision.transforms import functional  # takes seconds to import

        if not any(factor for _, factor in steps):
            return image
        picture = Image.fromarray(image)
        for name, factor in steps:
            if factor:
                picture = getattr(functional, f'adjust_{name}')(picture, *factor)
        return np.asarray(picture)


@TRANSFORMS.register_module()
class RandomGrayscale(RandomPhotometric):
    """Take the colour away with a probability; the image keeps three channels."""

    op = 'grayscale'

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def apply(self, image: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Repeat the grey in all channels."""
        return np.asarray(Image.fromarray(image).convert('L').convert('RGB'))


@TRANSFORMS.register_module()
class GaussianBlur(RandomPhotometric):
    """Blur by a Gaussian of random width, mirrored at the borders.

    Args:
        sigma: Least and greatest standard deviation in pixels.
    """

    op = 'blur'

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f'GaussianBlur: sigma={tuple(sigma)} must be positive and ascending')
        self.sigma = (low, high)

    def parameters(self) -> Parameters:
        """Draw the width; it stands once for each weight of half the widest kernel."""
        return (uniform(*self.sigma),) * (math.ceil(4 * self.sigma[1]) + 1)

    def apply(self, image: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Blur; the kernel reaches four widths to each side."""
        sigma = parameters[0]
        side = 2 * math.ceil(4 * sigma) + 1
        return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


@TRANSFORMS.register_module()
class Solarize(RandomPhotometric):
    """Invert what is bright: values from ``threshold`` (0..256) on."""

    op = 'solarize'

    def __init__(self, prob: float = 0.2, threshold: int = 128) -> None:
        super().__init__(prob)
        if not 0 <= threshold <= 256:
            raise ValueError(f'Solarize: threshold={threshold} is not within 0..256')
        self.threshold = threshold

    def parameters(self) -> Parameters:
        """Return the threshold."""
        return (float(self.threshold),)

    def apply(self, image: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Invert."""
        return np.where(image < parameters[0], image, 255 - image).astype(np.uint8)


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
        self._changes = {op.aug_fn.__name__: op.aug_fn for op in self.augment.ops}
        for op in self.augment.ops:
            op.aug_fn = partial(_note, op.aug_fn.__name__)

    def draw(self) -> list[Step]:
        """Draw a step for each layer."""
        steps = [self._step(*note) for note in self.draw_notes()]
        return steps + [('invert', None)] * (self.augment.num_layers - len(steps))

    def draw_notes(self) -> tuple[tuple[str, Parameters], ...]:
        """Let timm draw which functions change an image and how strongly."""
        if self.augment.choice_weights is not None:
            return self.augment(())
        ops, layers = self.augment.ops, range(self.augment.num_layers)
        # What np.random.choice draws, which would take longer than all the rest.
        return reduce(lambda notes, op: op(notes), [ops[below(len(ops))] for _ in layers], ())

    def _step(self, name: str, level: Parameters) -> Step:
        fill = self.augment.ops[0].kwargs['fillcolor']
        if name == 'rotate':  # Pillow's rounding
            angle = -math.radians(level[0] % 360.0)
            level = round(math.cos(angle), 15), round(math.sin(angle), 15)
        if name.startswith(('rotate', 'shear', 'translate')):
            return f'{name}_{self.interpolation}', (*level, *fill)
        if name == 'posterize':
            return name, (256 - 2 ** (8 - max(0, level[0])),)  # a mask
        return 'saturation' if name == 'color' else name, level or (1.0,)

    def transform(self, results: dict) -> dict:
        """Augment 'img' (uint8 RGB [H, W, 3])."""
        results['img'] = self.apply(results['img'], self.draw_notes())
        return results

    def apply(self, image: np.ndarray, notes: Sequence[tuple[str, Parameters]]) -> np.ndarray:
        """Change an image by timm's functions, one after the other."""
        picture = Image.fromarray(np.ascontiguousarray(image))
        for name, level in notes:
            picture = self._changes[name](picture, *level, **self.augment.ops[0].kwargs)
        return np.asarray(picture)


def _note(name: str, notes: tuple[Any, ...], *level: float, **_: Any) -> tuple[Any, ...]:
    """Stand in for timm's change of an image."""
    return *notes, (name, level)
