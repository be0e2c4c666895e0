"""mmcv rounds a side of a narrow picture to nothing.

Symptom: ``height and width must be > 0``, or an assertion of OpenCV, where a picture of 400x1
pixels is made smaller with ``keep_ratio=True``.

Cure: a side keeps at least one pixel.
"""

from typing import Any

from mmcv.image import geometric
from mmcv.transforms import processing

_scale_size = geometric._scale_size


def at_least_one(size: tuple[int, int], scale: Any) -> tuple[int, int]:
    """Return a size times a factor, or two of them, rounded."""
    width, height = _scale_size(size, scale)
    return max(1, width), max(1, height)


def install() -> None:
    """Let mmcv's ``Resize``, and what inherits from it, keep a pixel; may be called repeatedly."""
    geometric._scale_size = processing._scale_size = at_least_one
