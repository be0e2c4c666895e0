"""What happens in a video, drawn before its first frame is: ways, sizes, light, events."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .assets import Cutout, Photo
from .compose import Pose, light_ramp, make_background

_EVENTS = {
    'cover': 0.3,
    'leave': 0.15,
    'blur': 0.3,
    'light': 0.3,
    'spin': 0.4,
    'squeeze': 0.3,
    'zoom': 0.5,
    'twin': 0.4,
    'shake': 0.25,
    'fast': 0.12,
    'pan': 0.6,
}
"""How likely it is that a video has an event."""
_BASIS = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


@dataclass(frozen=True, eq=False)
class Curve:
    """A smooth curve through points (Catmull-Rom); it stays at its ends before and after."""

    points: np.ndarray  # float64 [n, d], at least two
    step: float  # frames from one point to the next

    def at(self, time: float) -> np.ndarray:
        """Return the place [d] at a time in frames."""
        last = len(self.points) - 1
        place = min(max(time / self.step, 0.0), float(last))
        first = min(int(place), last - 1)
        near = np.clip(np.arange(first - 1, first + 3), 0, last)
        return (place - first) ** np.arange(4) @ _BASIS @ self.points[near]


def wander(
    rng: np.random.Generator,
    frames: int,
    step: float,
    bounds: tuple[np.ndarray, np.ndarray],
    reach: tuple[float, float],
    start: np.ndarray,
) -> Curve:
    """Draw a curve that strolls about from ``start`` [d] and is thrown back at the bounds."""
    low, high = (np.asarray(bound, float) for bound in bounds)
    points = [np.asarray(start, float)]
    for _ in range(int(np.ceil(frames / step)) + 1):
        direction = rng.standard_normal(len(low))
        direction /= np.linalg.norm(direction)
        place = points[-1] + rng.uniform(*reach) * direction
        place = np.where(place < low, 2 * low - place, place)
        place = np.where(place > high, 2 * high - place, place)
        points.append(np.clip(place, low, high))
    return Curve(np.array(points), step)


@dataclass(frozen=True, eq=False)
class Sprite:
    """A cut-out on its way: centre in the frame, log scale, angle in degrees, stretch."""

    cutout: Cutout
    place: Curve
    scale: Curve
    angle: Curve
    stretch: Curve
    flip: bool

    def pose(self, time: float, shift: np.ndarray) -> Pose:
        """Return its pose at a time, moved by ``shift`` pixels."""
        x, y = self.place.at(time) + shift
        return Pose(
            x=float(x),
            y=float(y),
            scale=float(np.exp(self.scale.at(time)[0])),
            angle=float(self.angle.at(time)[0]),
            flip=self.flip,
            stretch=float(self.stretch.at(time)[0]),
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is drawn; ``behind`` lies behind the target, ``before`` hides it."""

    size: tuple[int, int]
    frames: int
    background: np.ndarray
    camera: Curve
    shake: Curve
    target: Sprite
    behind: tuple[Sprite, ...]
    before: tuple[Sprite, ...]
    light: Curve
    ramp: np.ndarray
    noise: float
    shutter: float
    events: frozenset[str]


def draw_plan(
    rng: np.random.Generator,
    frames: int,
    size: tuple[int, int],
    target: Cutout,
    cutouts: Sequence[Cutout],
    photos: Sequence[Photo],
) -> tuple[Plan, list[str]]:
    """Draw a plan; return it with the names of the sources, the background's first."""
    height, width = size
    events = frozenset(name for name, share in _EVENTS.items() if rng.random() < share)
    reach = 1.9 if 'pan' in events else 1.2
    canvas = (round(reach * height), round(reach * width))
    background, photo_sources = make_background(rng, photos, canvas)
    room = np.array([canvas[1] - width, canvas[0] - height], float)
    camera = wander(
        rng, frames, 20, (0.05 * room, 0.95 * room), (0.0, 0.5 * room.min()), 0.5 * room
    )
    jolts = rng.normal(0, 2.0 if 'shake' in events else 0.0, (frames + 1, 2))
    jolts[0] = 0
    side = float(np.exp(rng.uniform(np.log(0.15), np.log(0.36)))) * height
    hero = _draw_target(rng, frames, size, events, target, side)
    behind, before = [], []
    if 'twin' in events:
        same = [c for c in cutouts if c.class_name == target.class_name]
        for _ in range(rng.integers(1, 3)):
            behind.append(_draw_other(rng, frames, size, same[rng.integers(len(same))], side))
    if 'cover' in events:
        for _ in range(rng.integers(1, 3)):
            cutout = cutouts[int(rng.integers(len(cutouts)))]
            before.append(_draw_cover(rng, frames, hero, cutout, side))
    gains = rng.normal(0, 0.35 if 'light' in events else 0.02, (frames // 12 + 2, 1))
    plan = Plan(
        size=size,
        frames=frames,
        background=background,
        camera=camera,
        shake=Curve(jolts, 1.0),
        target=hero,
        behind=tuple(behind),
        before=tuple(before),
        light=Curve(gains, 12.0),
        ramp=cv2.merge([light_ramp(rng, size, 0.3).astype(np.float32)] * 3),
        noise=float(rng.uniform(0, 4)),
        shutter=float(rng.uniform(0.5, 0.9)) if 'blur' in events else 0.0,
        events=events,
    )
    sources = [s.name for s in photo_sources]
    sources += [s.cutout.source.name for s in (hero, *behind, *before)]
    return plan, list(dict.fromkeys(sources))


def _draw_target(
    rng: np.random.Generator,
    frames: int,
    size: tuple[int, int],
    events: frozenset[str],
    cutout: Cutout,
    side: float,
) -> Sprite:
    """Draw the target's way and looks; ``side`` is the root of its area in pixels."""
    limits = np.array([size[1], size[0]], float)
    fast = 'fast' in events
    reach = (0.2, 0.45) if fast else (0.03, 0.2)
    way = wander(
        rng,
        frames,
        4 if fast else 16,
        (0.17 * limits, 0.83 * limits),
        (reach[0] * size[1], reach[1] * size[1]),
        rng.uniform(0.3, 0.7, 2) * limits,
    )
    if 'leave' in events:
        # One point, never the first two, lies beyond the nearest border.
        number = int(rng.integers(2, max(3, len(way.points) - 2)))
        axis = int(rng.integers(2))
        beyond = limits[axis] + 0.9 * side if rng.random() < 0.5 else -0.9 * side
        way.points[number, axis] = beyond
    stretch = float(np.exp(rng.uniform(np.log(0.75), np.log(1.33))))
    low = 0.45 if 'squeeze' in events else 0.95
    turn = 60.0 if 'spin' in events else 4.0
    # Big things may grow little, small things may shrink little.
    scale = np.log(side / np.sqrt(cutout.area * stretch))
    swing = np.log(1.5) if 'zoom' in events else 0.04
    center = float(np.clip(np.log(0.24 * size[0] / side), -0.6 * swing, 0.6 * swing))
    return Sprite(
        cutout=_recolored(rng, cutout),
        place=way,
        scale=_stroll(rng, frames, scale, scale + center - swing, scale + center + swing),
        angle=_stroll(rng, frames, float(rng.uniform(-25, 25)), -3 * turn, 3 * turn, turn),
        stretch=_stroll(rng, frames, stretch, low * stretch, stretch),
        flip=bool(rng.random() < 0.5),
    )


def _draw_other(
    rng: np.random.Generator, frames: int, size: tuple[int, int], cutout: Cutout, side: float
) -> Sprite:
    """Draw something of the target's class that strolls about behind it."""
    limits = np.array([size[1], size[0]], float)
    reach = (0.02 * size[1], 0.15 * size[1])
    start = rng.uniform(0.1, 0.9, 2) * limits
    scale = float(np.log(side * rng.uniform(0.7, 1.3) / np.sqrt(cutout.area)))
    return Sprite(
        cutout=_recolored(rng, cutout),
        place=wander(rng, frames, 12, (0.05 * limits, 0.95 * limits), reach, start),
        scale=_constant(scale),
        angle=_constant(float(rng.uniform(-30, 30))),
        stretch=_constant(float(rng.uniform(0.8, 1.25))),
        flip=bool(rng.random() < 0.5),
    )


def _draw_cover(
    rng: np.random.Generator, frames: int, target: Sprite, cutout: Cutout, side: float
) -> Sprite:
    """Draw something that passes straight over the target at one moment."""
    meeting = float(rng.uniform(0.3, 0.85) * frames)
    speed = float(rng.uniform(0.12, 0.35) * side)
    heading = float(rng.uniform(0, 2 * np.pi))
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    place = target.place.at(meeting)
    ends = np.array([place - meeting * velocity, place + (frames - meeting) * velocity])
    scale = float(np.log(side * rng.uniform(0.8, 2.0) / np.sqrt(cutout.area)))
    return Sprite(
        cutout=_recolored(rng, cutout),
        place=Curve(ends, float(frames)),
        scale=_constant(scale),
        angle=_constant(float(rng.uniform(-180, 180))),
        stretch=_constant(float(rng.uniform(0.75, 1.33))),
        flip=bool(rng.random() < 0.5),
    )


def _constant(value: float) -> Curve:
    return Curve(np.full((2, 1), value), 1.0)


def _stroll(
    rng: np.random.Generator,
    frames: int,
    start: float,
    low: float,
    high: float,
    reach: float | None = None,
) -> Curve:
    """Draw a number that changes slowly."""
    most = reach if reach is not None else 0.7 * (high - low)
    start = min(max(start, low), high)
    bounds = (np.array([low]), np.array([high]))
    return wander(rng, frames, 16, bounds, (0.3 * most, most), np.array([start]))


def _recolored(rng: np.random.Generator, cutout: Cutout) -> Cutout:
    """Turn a cut-out's hue by any angle and change its brightness and contrast."""
    angle = rng.uniform(0, 2 * np.pi)
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    contrast, gain = rng.uniform(0.75, 1.2), np.exp(rng.uniform(-0.3, 0.3))
    # Colours are multiplied by alpha, and so is what is added to them.
    offset = np.full((3, 1), 0.5 * (1 - contrast))
    matrix = np.column_stack([turn * contrast * gain, offset])
    pyramid = []
    for level in cutout.pyramid:
        color = cv2.transform(level.astype(np.float32), matrix.astype(np.float32))
        color = np.minimum(np.maximum(color, 0), level[..., 3:])
        pyramid.append(np.dstack([color.round().astype(np.uint8), level[..., 3]]))
    return Cutout(cutout.source, cutout.class_name, tuple(pyramid), cutout.area)
