"""Large-scale jittering as detectron2 does it."""

from typing import Any

import numpy as np
from mmdet.datasets.transforms import RandomCrop, Resize

from lightvit_dense.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class ResizeScale(Resize):
    """Fit an image into a box of random size; boxes and masks follow by the factors of the sides.

    Args:
        scale: (width, height) of the box in pixels.
        ratio_range: Least and greatest factor of the box, drawn uniformly.
        backend: 'pillow' filters when it shrinks, 'cv2' does not.
        **kwargs: As mmdet's ``Resize``.
    """

    def __init__(
        self,
        scale: tuple[int, int],
        ratio_range: tuple[float, float],
        backend: str = 'pillow',
        **kwargs: Any,
    ) -> None:
        super().__init__(scale, backend=backend, **kwargs)
        self.box, self.ratio_range = scale, ratio_range

    def transform(self, results: dict) -> dict:
        """Draw a factor and resize ([H, W, 3])."""
        sides = results['img'].shape[1::-1]  # width, height
        factor = np.random.uniform(*self.ratio_range)
        factor = min(wanted * factor / side for wanted, side in zip(self.box, sides, strict=True))
        self.scale = tuple(max(1, round(side * factor)) for side in sides)
        return super().transform(results)


@TRANSFORMS.register_module(force=True)
class FixedSizeCrop(RandomCrop):
    """mmdet's ``RandomCrop`` by which one random number places the crop on both axes."""

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        """Draw where the crop begins; ``margin`` and the result are (vertical, horizontal)."""
        place = np.random.uniform()
        return round(margin[0] * place), round(margin[1] * place)
