"""Square crops around a box: window, pixels, and the way of boxes in and out of it; clipping.

Training and runtime cut alike. The side of a window is that of OSTrack (Ye et al., ECCV 2022), and
so are the pixels, zero-padded and resized bilinearly, with two differences: OSTrack's code blanks
the last row or column of the image where the window reaches it, and its training boxes are shifted
by half a pixel of the crop; here neither happens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from .errors import UserError

_LARGEST_SIDE = 1 << 24
# Larger padded windows are not laid out; only the pixels that the resize reads are.
_PADDED_BYTES = 4 << 20


class DegenerateBox(UserError):
    """A box that no crop can be cut around."""


@dataclass(frozen=True)
class CropWindow:
    """A square of the image in whole pixels, at least 1, which may reach beyond it."""

    x: int  # left edge
    y: int  # upper edge
    side: int

    def to_crop(self, boxes: ArrayLike, out: int) -> np.ndarray:
        """Return boxes [..., 4] in pixels of the crop of side ``out``; 1 gives parts of it."""
        return (np.asarray(boxes, np.float64) - [self.x, self.y, 0, 0]) * (out / self.side)

    def to_image(self, boxes: ArrayLike, out: int) -> np.ndarray:
        """Return boxes of the crop as boxes of the image; the inverse of :meth:`to_crop`."""
        return np.asarray(boxes, np.float64) * (self.side / out) + [self.x, self.y, 0, 0]


def crop_window(box: ArrayLike, factor: float) -> CropWindow:
    """Return the window around a box: ``factor**2`` times its area, rounded up to whole pixels."""
    x, y, width, height = (float(value) for value in np.asarray(box, np.float64))
    area = width * height
    told = f'no crop around the box x={x:g}, y={y:g}, width={width:g}, height={height:g}'
    if not (math.isfinite(x + y) and width > 0 and height > 0 and math.isfinite(area)):
        raise DegenerateBox(f'{told}: width and height must be positive, and all four finite')
    side = math.ceil(math.sqrt(area) * factor)
    if not 1 <= side <= _LARGEST_SIDE or max(abs(x), abs(y), width, height) > _LARGEST_SIDE:
        raise DegenerateBox(
            f'{told}: its window of {side} pixels is none of an image; give the box in pixels'
        )
    left, top = x + 0.5 * width - 0.5 * side, y + 0.5 * height - 0.5 * side
    return CropWindow(round(left), round(top), side)


def _taps(origin: int, side: int, out: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a bilinear resize of an axis reads: places [2, out], -1 outside, and weights."""
    place = np.clip((np.arange(out) + 0.5) * (side / out) - 0.5, 0, side - 1)
    first = np.floor(place).astype(np.int64)
    weight = (place - first).astype(np.float32)
    taps = origin + np.stack([first, np.minimum(first + 1, side - 1)])
    taps[(taps < 0) | (taps >= limit)] = -1
    return taps, np.stack([1 - weight, weight])


def _gather(image: np.ndarray, window: CropWindow, out: int) -> np.ndarray:
    """Resize a window by reading only the four neighbours of each pixel of the result."""
    rows, row_weights = _taps(window.y, window.side, out, image.shape[0])
    columns, column_weights = _taps(window.x, window.side, out, image.shape[1])
    # A tap outside of the image reads any pixel, with weight 0.
    row_weights, column_weights = row_weights * (rows >= 0), column_weights * (columns >= 0)
    result = np.zeros((out, out, *image.shape[2:]), np.float32)
    shape = (-1,) + (1,) * (image.ndim - 1)
    touched = np.flatnonzero(row_weights.any(axis=0))
    if not touched.size or not column_weights.any():
        return result.astype(np.uint8)
    low, high = int(touched[0]), int(touched[-1]) + 1
    for row, row_weight in zip(rows[:, low:high], row_weights[:, low:high], strict=True):
        for column, column_weight in zip(columns, column_weights, strict=True):
            # [rows, out, 3]
            pixels = image[np.maximum(row, 0)[:, None], np.maximum(column, 0)[None]]
            weight = row_weight.reshape(shape) * column_weight.reshape(shape[:-1])
            result[low:high] += pixels * weight
    return np.rint(result, out=result).astype(np.uint8)


def padding_mask(window: CropWindow, size: tuple[int, int], out: int) -> np.ndarray:
    """Return which pixels of a crop take anything from outside of the image, bool [out, out]."""
    outside: list[np.ndarray] = []
    for origin, limit in zip((window.y, window.x), size, strict=True):
        if origin >= 0 and origin + window.side <= limit:
            outside.append(np.zeros(out, bool))
            continue
        taps, weights = _taps(origin, window.side, out, limit)
        outside.append(np.asarray(((taps < 0) & (weights > 0)).any(axis=0)))
    return outside[0][:, None] | outside[1][None]


def _cut(image: np.ndarray, window: CropWindow, out: int) -> np.ndarray:
    """Cut and resize a frame [H, W, 3] or [H, W]; zeros outside of it."""
    height, width = image.shape[:2]
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, width), min(window.y + window.side, height)
    if left >= right or top >= bottom:
        return np.zeros((out, out, *image.shape[2:]), np.uint8)
    inside = image[top:bottom, left:right]
    if inside.shape[:2] != (window.side, window.side):
        if window.side**2 * math.prod(image.shape[2:]) > _PADDED_BYTES:
            return _gather(image, window, out)
        above, before = top - window.y, left - window.x
        below, behind = window.y + window.side - bottom, window.x + window.side - right
        kind = cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED
        inside = cv2.copyMakeBorder(inside, above, below, before, behind, kind)
    return cv2.resize(inside, (out, out), interpolation=cv2.INTER_LINEAR)


def crop_image(image: np.ndarray, window: CropWindow, out: int) -> np.ndarray:
    """Cut a window out of a frame and resize it to uint8 [out, out, 3]; black outside of the frame.

    The frame is uint8 [H, W, 3], or grey [H, W] or [H, W, 1]. The pixels are those of padding the
    window with zeros and ``cv2.resize`` with INTER_LINEAR. Of a padded window over 4 MiB only the
    pixels that the resize reads are touched; there the result may differ by one grey level.
    """
    grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)):
        raise UserError(
            f'a frame must be uint8 [height, width, 3] or grey [height, width], got '
            f'{image.dtype} {list(image.shape)}; convert it first'
        )
    if not image.size:
        raise UserError(f'a frame of shape {list(image.shape)} has no pixels')
    crop = _cut(image[..., 0] if image.shape[2:] == (1,) else image, window, out)
    return cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB) if crop.ndim == 2 else crop


def clip_box(box: np.ndarray, size: tuple[int, int], margin: float = 10.0) -> np.ndarray:
    """Keep ``margin`` pixels or more of each side of a box [4] in an image of (height, width)."""
    height, width = size
    left, top, wide, high = np.asarray(box, np.float64)
    right, bottom = left + wide, top + high
    left = min(max(0.0, left), width - margin)
    right = min(max(margin, right), float(width))
    top = min(max(0.0, top), height - margin)
    bottom = min(max(margin, bottom), float(height))
    return np.array([left, top, max(margin, right - left), max(margin, bottom - top)])


def check_box(box: ArrayLike, size: tuple[int, int]) -> np.ndarray:
    """Return a box to begin with in a frame of (height, width), float64 [4]."""
    try:
        array = np.asarray(box, np.float64).reshape(4)
    except (TypeError, ValueError):
        raise UserError(f'the first box must be x, y, width, height, got {box!r}') from None
    x, y, width, height = array
    text = f'the first box x={x:g}, y={y:g}, width={width:g}, height={height:g}'
    if not np.isfinite(array).all() or min(width, height) < 1:
        raise UserError(f'{text} is not finite or smaller than a pixel; give pixels')
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        raise UserError(f'{text} lies outside of the frame of {size[1]}x{size[0]} pixels')
    return array


class Target:
    """A target from frame to frame: crops for a network, and the boxes that it finds in them.

    Frames are those of :func:`crop_image`, ``settings`` has ``template_size``, ``template_factor``,
    ``search_size``, ``search_factor`` and the ``margin`` of :func:`clip_box`.
    """

    def __init__(self, frame: np.ndarray, box: ArrayLike, settings: Mapping[str, Any]) -> None:
        self.box, self._size = check_box(box, frame.shape[:2]), frame.shape[:2]
        self._settings, self._frames, side = settings, 0, settings['template_size']
        window = crop_window(self.box, settings['template_factor'])
        self.template = crop_image(frame, window, side)
        self.template_box = window.to_crop(self.box, side)  # in pixels of the crop

    def _clip(self, box: np.ndarray) -> np.ndarray:
        return clip_box(box, self._size, min(self._settings['margin'], *self._size))

    def search(self, frame: np.ndarray) -> np.ndarray:
        """Return the search crop of the next frame, around the last box."""
        if frame.shape[:2] != self._size:
            # Around a place beyond a smaller frame nothing could be found any more.
            self._size = frame.shape[:2]
            self.box = self._clip(self.box)
        self._window = crop_window(self.box, self._settings['search_factor'])
        return crop_image(frame, self._window, self._settings['search_size'])

    def move(self, found: np.ndarray) -> np.ndarray:
        """Take a box in pixels of the last search crop; return that in pixels of the frame [4]."""
        self._frames += 1
        if not np.isfinite(found).all():
            raise UserError(
                f'the network predicts the box {np.asarray(found).tolist()} in frame '
                f'{self._frames}: the weights are damaged or the training diverged'
            )
        self.box = self._clip(self._window.to_image(found, self._settings['search_size']))
        return self.box.copy()
