"""Large-scale jittering as detectron2 does it."""

from typing import Any

import numpy as np
import shapely
from mmdet.datasets.transforms import RandomCrop, Resize
from mmdet.structures.mask import PolygonMasks

from lightvit_dense.datasets.transforms.augment import resize_box
from lightvit_dense.registry import TRANSFORMS

from .opening import blank, decode_opened


class Polygons(PolygonMasks):
    """mmdet's polygons; those that lie in a crop as a whole are not intersected with it."""

    def __getitem__(self, index: Any) -> 'Polygons':
        found = super().__getitem__(index)
        return Polygons(found.masks, found.height, found.width)

    def crop(self, bbox: np.ndarray) -> PolygonMasks:
        """Return the masks within (left, top, right, bottom); mmdet mends invalid ones."""
        box = np.clip(bbox, 0, [self.width, self.height] * 2)

        def lies_in(corners: np.ndarray) -> bool:
            inside = (corners >= box[:2]).all() and (corners <= box[2:]).all()
            return bool(inside and shapely.is_valid(shapely.polygons(corners)))

        whole = [all(lies_in(p.reshape(-1, 2)) for p in mask) for mask in self.masks]
        cropped = super().__getitem__(~np.array(whole, bool)).crop(bbox)
        others = iter(cropped.masks)
        cropped.masks = [
            [(p.reshape(-1, 2) - box[:2]).ravel() for p in mask] if kept else next(others)
            for mask, kept in zip(self.masks, whole, strict=True)
        ]
        return cropped


@TRANSFORMS.register_module(force=True)
class ResizeScale(Resize):
    """Fit an image into a box of random size; boxes and masks follow by the factors of the sides.

    Args:
        scale: (width, height) of the box in pixels.
        ratio_range: Least and greatest factor of the box, drawn uniformly.
        backend: 'pillow' filters when it shrinks, as detectron2 does, 'torch' does the same faster,
            within one grey level, 'cv2' does not.
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

    def transform(self, results: dict) -> dict | None:
        """Draw a factor and resize ([H, W, 3])."""
        sides = results['img'].shape[1::-1]  # width, height
        factor = np.random.uniform(*self.ratio_range)
        factor = min(wanted * factor / side for wanted, side in zip(self.box, sides, strict=True))
        self.scale = tuple(max(1, round(side * factor)) for side in sides)
        if self.backend != 'torch' and decode_opened(results) is None:
            return None
        return super().transform(results)

    def _resize_img(self, results: dict) -> None:
        """Resize 'img', or the blank that stands for it."""
        if self.backend != 'torch':
            super()._resize_img(results)
            return
        (wide, high), image = self.scale, results['img']
        box, factors = (0, 0, *image.shape[1::-1]), (wide / image.shape[1], high / image.shape[0])
        results.update(img_shape=(high, wide), scale_factor=factors, keep_ratio=self.keep_ratio)
        results['img'] = blank(high, wide)
        if 'opened' not in results:
            results['img'] = resize_box(image, box, (high, wide), 'bilinear', 'torch')


@TRANSFORMS.register_module(force=True)
class FixedSizeCrop(RandomCrop):
    """mmdet's ``RandomCrop`` by which one random number places the crop on both axes."""

    def _crop_data(self, results: dict, *args: Any, **kwargs: Any) -> dict | None:
        """Crop what there is."""
        masks = results.get('gt_masks')
        if isinstance(masks, PolygonMasks):
            results['gt_masks'] = Polygons(masks.masks, masks.height, masks.width)
        return super()._crop_data(results, *args, **kwargs)

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        """Draw where the crop begins; ``margin`` and the result are (vertical, horizontal)."""
        place = np.random.uniform()
        return round(margin[0] * place), round(margin[1] * place)
