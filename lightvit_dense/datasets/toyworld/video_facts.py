"""What is true of a video: boxes of masks, and which of LaSOT's attributes it has."""

from dataclasses import dataclass, field

import cv2
import numpy as np

ATTRIBUTES: tuple[str, ...] = (
    'Illumination Variation',
    'Partial Occlusion',
    'Deformation',
    'Motion Blur',
    'Camera Motion',
    'Rotation',
    'Background Clutter',
    'Viewpoint Change',
    'Scale Variation',
    'Full Occlusion',
    'Fast Motion',
    'Out-of-View',
    'Low Resolution',
    'Aspect Ratio Change',
)
"""In the order of LaSOT's evaluation toolkit."""

_LOW_RESOLUTION = 1000
"""Pixels of a box; the LaSOT paper's limit, like the factor 2 of scale and aspect ratio."""


@dataclass(eq=False)
class VideoFacts:
    """What is noted while a video is drawn, frame by frame."""

    class_name: str
    events: frozenset[str]  # what was planned
    # x, y, width, height in pixels; zeros where nothing is in view
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)  # share of the target inside of the frame
    seen: list[float] = field(default_factory=list)  # share of the target in view
    # pixels that it moves while the shutter is open
    travel: list[float] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)  # pixels to the nearest of its kind

    def add(
        self, mask: np.ndarray, inside: float, seen: float, travel: float, nearest: float
    ) -> None:
        """Note a frame; ``mask`` [H, W] holds the target's pixels in view."""
        self.boxes.append(mask_box(mask))
        self.inside.append(inside)
        self.seen.append(seen)
        self.travel.append(travel)
        self.nearest.append(nearest)


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the box of a bool mask [H, W]; zeros for an empty one."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, width, height)


def attributes_of(facts: VideoFacts, least: float) -> tuple[str, ...]:
    """Return the attributes of a video, in LaSOT's order."""
    boxes = np.array(facts.boxes, float)
    inside, seen = np.array(facts.inside), np.array(facts.seen)
    visible = seen >= least
    width, height = boxes[:, 2], boxes[:, 3]
    area = np.where(visible, width * height, np.nan)
    aspect = np.where(visible, width / np.maximum(height, 1), np.nan)
    side = np.sqrt(area)
    center = boxes[:, :2] + boxes[:, 2:] / 2
    steps = np.linalg.norm(np.diff(center, axis=0), axis=1)
    both = visible[1:] & visible[:-1]
    hidden = inside - seen
    found = {
        'Illumination Variation': 'light' in facts.events,
        'Partial Occlusion': bool((visible & (hidden > 0.1)).any()),
        'Motion Blur': max(facts.travel) > 4,
        'Camera Motion': 'shake' in facts.events,
        'Rotation': 'spin' in facts.events,
        'Background Clutter': bool((np.array(facts.nearest) < 2 * side).any()),
        'Viewpoint Change': 'squeeze' in facts.events,
        'Scale Variation': _changes(area),
        'Full Occlusion': bool(((inside >= least) & ~visible).any()),
        'Fast Motion': bool((both & (steps > side[1:])).any()),
        'Out-of-View': bool((inside < least).any()),
        'Low Resolution': bool((area < _LOW_RESOLUTION).any()),
        'Aspect Ratio Change': _changes(aspect),
    }
    return tuple(name for name in ATTRIBUTES if found.get(name))


def _changes(values: np.ndarray) -> bool:
    """Whether a value is ever outside of half to double its first one; NaN is passed over."""
    ratio = values / values[0]
    return bool(((ratio < 0.5) | (ratio > 2)).any())
