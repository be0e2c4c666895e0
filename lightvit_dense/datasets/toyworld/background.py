"""Backgrounds: few photographs, many views of them."""

from collections.abc import Sequence

import cv2
import numpy as np

from .assets import Photo, Source


def make_background(
    rng: np.random.Generator, photos: Sequence[Photo], size: tuple[int, int]
) -> tuple[np.ndarray, list[Source]]:
    """Draw a view of one photograph, or of two that meet along a line; name the sources."""
    first = photos[int(rng.integers(len(photos)))]
    image = _view(rng, first.image, size)
    if rng.random() >= 0.35:
        return image.round().astype(np.uint8), [first.source]
    second = photos[int(rng.integers(len(photos)))]
    share = cv2.merge([_half_plane(rng, size)] * 3)
    image += share * (_view(rng, second.image, size) - image)
    sources = [first.source] if first is second else [first.source, second.source]
    return image.round().astype(np.uint8), sources


def _view(rng: np.random.Generator, photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A random crop of ``photo``, turned, mirrored and recoloured: float32 [H, W, 3] in 0..255."""
    height, width = size
    if rng.random() < 0.3:
        photo = photo.transpose(1, 0, 2)
    # The largest crop of the wanted shape, then a part of it.
    fit = min(photo.shape[0] / height, photo.shape[1] / width)
    fit *= rng.uniform(0.4, 1.0)
    crop_h, crop_w = max(1, int(height * fit)), max(1, int(width * fit))
    top = rng.integers(photo.shape[0] - crop_h + 1)
    left = rng.integers(photo.shape[1] - crop_w + 1)
    crop = np.ascontiguousarray(photo[top : top + crop_h, left : left + crop_w])
    way = cv2.INTER_AREA if crop_h > height else cv2.INTER_LINEAR
    view = cv2.resize(crop, (width, height), interpolation=way)
    if rng.random() < 0.5:
        view = view[:, ::-1]
    if rng.random() < 0.25:
        view = view[::-1]
    return _recolor(rng, view.astype(np.float32))


def _recolor(rng: np.random.Generator, view: np.ndarray) -> np.ndarray:
    """Change tint, contrast and brightness; grey photographs get a colour this way."""
    gains = rng.uniform(0.65, 1.25, 3)
    contrast, shift = rng.uniform(0.6, 1.15), rng.uniform(-20, 35)
    offset = view.mean() * (1 - contrast) + shift
    view = cv2.transform(view, np.column_stack([np.diag(gains * contrast), gains * offset]))
    if rng.random() < 0.2:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 2.0))
    return np.clip(view, 0, 255)


def _half_plane(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A soft-edged half plane: float32 [H, W] in 0..1. Mostly level, like floor and wall."""
    height, width = size
    angle = rng.normal(np.pi / 2, 0.35) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    x = np.arange(width, dtype=np.float32) - width * rng.uniform(0.3, 0.7)
    y = np.arange(height, dtype=np.float32) - height * rng.uniform(0.35, 0.7)
    distance = np.cos(angle) * x[None] + np.sin(angle) * y[:, None]
    return np.clip(distance / rng.uniform(1, 6) + 0.5, 0, 1, dtype=np.float32)
