"""Instance masks cut to their objects, and what the mask head learns of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.ops import roi_align
from mmdet.structures.mask import BitmapMasks, mask_target
from torch import Tensor
from torch.nn.modules.utils import _pair


@dataclass(frozen=True)
class CroppedMasks:
    """The bitmaps of an image, each cut to the rectangle that its object covers."""

    pixels: Tensor  # uint8, of all objects, one after the other, flattened
    places: list[tuple[int, int, int, int]]  # left, top, width and height of each
    height: int  # of the image
    width: int

    @classmethod
    def of(cls, masks: BitmapMasks) -> 'CroppedMasks':
        """Cut whole bitmaps."""
        places, crops = [], [np.zeros(0, np.uint8)]
        for mask in masks.masks.astype(np.uint8, copy=False):
            left, top, width, height = cv2.boundingRect(mask)
            places.append((left, top, width, height))
            crops.append(mask[top : top + height, left : left + width].ravel())
        return cls(torch.from_numpy(np.concatenate(crops)), places, masks.height, masks.width)

    def __len__(self) -> int:
        return len(self.places)

    def to(self, *args: Any, **kwargs: Any) -> 'CroppedMasks':
        """Move the pixels as a tensor."""
        return replace(self, pixels=self.pixels.to(*args, **kwargs))

    def pad(self, out_shape: Sequence[int], pad_val: int = 0) -> 'CroppedMasks':
        """Place the objects in a larger image (height, width)."""
        return replace(self, height=out_shape[0], width=out_shape[1])

    def whole(self) -> Tensor:
        """Return whole masks [objects, height, width], fp32."""
        masks = self.pixels.new_zeros(len(self), self.height, self.width, dtype=torch.float32)
        crops = self.pixels.split([width * height for *_, width, height in self.places])
        for mask, crop, (left, top, width, height) in zip(masks, crops, self.places, strict=True):
            mask[top : top + height, left : left + width] = crop.view(height, width)
        return masks

    def to_ndarray(self) -> np.ndarray:
        """Return whole masks, uint8 [objects, height, width]."""
        return self.whole().byte().cpu().numpy()

    def crop_and_resize(self, *args: Any, **kwargs: Any) -> BitmapMasks:
        """Do what mmdet's ``BitmapMasks`` do, for mmdet's heads."""
        masks = BitmapMasks(self.to_ndarray(), self.height, self.width)
        return masks.crop_and_resize(*args, **kwargs)


def mask_targets(regions: Tensor, counts: Sequence[int], masks: Sequence[Any], cfg: Any) -> Tensor:
    """Return mmdet's targets of the mask head [R, height, width], for a whole batch.

    Regions, fp32 [R, 5], are left, top, right, bottom and the object's number in its image, of
    which each has so many as ``counts`` says; on the CPU unless all ``masks`` are cropped.
    """
    parts = regions.split(list(counts))
    if not all(isinstance(own, CroppedMasks) for own in masks):
        owners = [part[:, 4].long() for part in parts]
        return mask_target([part[:, :4] for part in parts], owners, masks, cfg)
    size = _pair(cfg.mask_size)
    found = [regions.new_zeros(0, *size)]
    for own, part in zip(masks, parts, strict=True):
        if len(part):
            x, y = part[:, 0:4:2].clamp(0, own.width), part[:, 1:4:2].clamp(0, own.height)
            rois = torch.stack([part[:, 4], x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
            found.append(roi_align(own.whole()[:, None], rois, size, 1.0, 0, 'avg', True)[:, 0])
    targets = torch.cat(found)
    return targets if cfg.get('soft_mask_target', False) else (targets >= 0.5).float()
