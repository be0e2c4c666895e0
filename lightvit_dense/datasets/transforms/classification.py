"""Augmentation of supervised training."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lightvit_dense.compat.pillow_posterize import allow_zero_bits
from lightvit_dense.registry import TRANSFORMS

from .base import Transform

_RESAMPLING = {'bicubic': Image.Resampling.BICUBIC, 'bilinear': Image.Resampling.BILINEAR}
_POLICY = re.compile(r'rand(-(mstd|mmax|inc|m|n|p)\d+(\.\d+)?|-t[a-z]*)*')
IMAGENET_MEAN = (123.675, 116.28, 103.53)


@TRANSFORMS.register_module()
class RandAugment(Transform):
    """RandAugment in timm's implementation and notation.

    In timm, and so in DeiT's and MAE's recipes, colour jitter is switched off beside it, whatever
    strength is given.

    Args:
        policy: timm's string, e.g. 'rand-m9-mstd0.5-inc1': magnitude 9, its deviation, and
            operations that get stronger with it.
        mean: RGB colour of 0..255 that fills what a rotation or shift leaves empty.
        interpolation: 'bicubic' or 'bilinear'.
    """

    def __init__(
        self,
        policy: str = 'rand-m9-mstd0.5-inc1',
        mean: Sequence[float] = IMAGENET_MEAN,
        interpolation: str = 'bicubic',
    ) -> None:
        from timm.data.auto_augment import rand_augment_transform  # takes seconds to import

        if interpolation not in _RESAMPLING:
            raise ValueError(
                f'interpolation must be one of {tuple(_RESAMPLING)}: {interpolation!r}'
            )
        self.policy = policy
        self.interpolation = interpolation
        options = dict(
            img_mean=tuple(min(255, round(value)) for value in mean),
            interpolation=_RESAMPLING[interpolation],
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
