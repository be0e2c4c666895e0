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
