"""Arithmetic of boxes: x, y, width, height."""

import numpy as np


def to_corners(boxes: np.ndarray) -> np.ndarray:
    """Return boxes [..., 4] of x, y, width, height as left, top, right, bottom edges."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the overlap (IoU) of boxes [..., 4], pair by pair; 0 where both are empty."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def clip_box(box: np.ndarray, size: tuple[int, int], margin: float = 10.0) -> np.ndarray:
    """Keep ``margin`` pixels or more of each side of a box [4] in an image of (height, width)."""
    height, width = size
    left, top, right, bottom = to_corners(np.asarray(box, np.float64))
    left = min(max(0.0, left), width - margin)
    right = min(max(margin, right), float(width))
    top = min(max(0.0, top), height - margin)
    bottom = min(max(margin, bottom), float(height))
    return np.array([left, top, max(margin, right - left), max(margin, bottom - top)])
