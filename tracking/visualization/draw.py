"""Boxes of a target drawn on frames."""

from collections.abc import Sequence

import cv2
import numpy as np

Color = tuple[int, int, int]

TRUTH_COLOR: Color = (60, 230, 60)
TRACKER_COLORS: tuple[Color, ...] = (
    (255, 60, 60),
    (70, 140, 255),
    (255, 190, 0),
    (220, 90, 255),
    (0, 220, 220),
    (255, 130, 60),
    (160, 160, 255),
    (255, 120, 180),
)
"""RGB; a tracker's colour goes by its place, so that it is the same in all pictures."""
_SHADE: Color = (0, 0, 0)


def tracker_color(place: int) -> Color:
    """Return the colour of the tracker at a place, from 0."""
    return TRACKER_COLORS[place % len(TRACKER_COLORS)]


def draw_box(
    image: np.ndarray, box: Sequence[float] | np.ndarray, color: Color, thickness: int = 2
) -> None:
    """Draw the outline of a box, dark on its outer side so that it shows on any ground.

    Args:
        image: RGB uint8 [H, W, 3], changed in place.
        box: x, y, width, height in pixels, x and y those of the left and upper edge. Nothing is
            drawn where it is not finite or has no area.
        color: RGB.
        thickness: Pixels.
    """
    box = np.asarray(box, np.float64)
    if not np.isfinite(box).all() or (box[2:] <= 0).any():
        return
    # OpenCV takes indices of pixels, both corners included. Far outside it would overflow.
    reach = 4 * max(image.shape[:2])
    edges = np.clip([box[0], box[1], box[0] + box[2] - 1, box[1] + box[3] - 1], -reach, reach)
    left, top, right, bottom = edges.round().astype(int).tolist()
    corners = ((left, top), (max(left, right), max(top, bottom)))
    cv2.rectangle(image, *corners, _SHADE, thickness + 2)
    cv2.rectangle(image, *corners, color, thickness)
