"""How a crop is cut for training: its size, and how its window is shaken."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lightvit_dense.datasets.transforms.opened import OpenedImage
from lightvit_dense.errors import UserError, require_known
from lightvit_dense_runtime.crops import CropWindow, crop_image, crop_window, padding_mask

_DISCARD_GRID = 16  # pixels of the crop between the places that the rule of discarding looks at


@dataclass(frozen=True)
class Cut:
    """A crop and what is known of it."""

    image: np.ndarray  # uint8 RGB [size, size, 3]
    box: np.ndarray  # x, y, width, height [4] of the target as parts of the side
    padding: np.ndarray  # bool [size, size], True where the crop lies outside of the frame

    @property
    def is_empty(self) -> bool:
        """Whether padding covers all of a grid of every 16th pixel; OSTrack discards these."""
        return bool(self.padding[::_DISCARD_GRID, ::_DISCARD_GRID].all())


@dataclass(frozen=True)
class CropSpec:
    """How to cut a crop around a target (STARK's and OSTrack's training).

    Windows are relative to the geometric mean of the sides of the box: ``factor`` times that,
    shifted along each axis by at most half of ``center_jitter`` times that of the shaken box.
    """

    size: int  # pixels
    factor: float
    center_jitter: float = 0.0
    scale_jitter: float = 0.0  # standard deviation of the logarithm of the scale of each side

    def __post_init__(self) -> None:
        if self.size < 1 or self.factor <= 0:
            raise UserError(
                f'a crop needs a positive size and factor, got {self.size} and {self.factor}'
            )
        if min(self.center_jitter, self.scale_jitter) < 0:
            raise UserError(
                'center_jitter and scale_jitter must not be negative, got '
                f'{self.center_jitter} and {self.scale_jitter}'
            )

    def shake(self, box: np.ndarray) -> np.ndarray:
        """Return a box [4] that is moved and scaled at random, from the ambient generator."""
        size = box[2:] * np.exp(np.random.standard_normal(2) * self.scale_jitter)
        reach = np.sqrt(size.prod()) * self.center_jitter
        center = box[:2] + 0.5 * box[2:] + reach * (np.random.random(2) - 0.5)
        return np.concatenate([center - 0.5 * size, size])

    def cut(self, frame: OpenedImage, box: np.ndarray) -> Cut:
        """Cut a crop of a frame (RGB or grey) around a box [4] in pixels that is shaken first."""
        window = crop_window(self.shake(np.asarray(box, np.float64)), self.factor)
        padding = padding_mask(window, frame.shape, self.size)
        return Cut(crop_opened(frame, window, self.size), window.to_crop(box, 1), padding)


def read_spec(name: str, published: Mapping[str, Any], given: Mapping[str, Any] | None) -> CropSpec:
    """Make the specification ``name`` of what a config gives, the published values for the rest."""
    known = [field.name for field in fields(CropSpec)]
    for key in given or {}:
        require_known(key, known, f'{name} of PairDataset')
    return CropSpec(**{**published, **(given or {})})


def crop_opened(frame: OpenedImage, window: CropWindow, out: int) -> np.ndarray:
    """Return what :func:`crop_image` does, decoding no more of the frame than the window shows."""
    height, width = frame.shape
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, width), min(window.y + window.side, height)
    if left >= right or top >= bottom:
        return np.zeros((out, out, 3), np.uint8)
    moved = CropWindow(window.x - left, window.y - top, window.side)
    return crop_image(frame.window((left, top, right, bottom)), moved, out)
