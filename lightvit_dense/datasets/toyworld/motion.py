"""Smooth random motion."""

from dataclasses import dataclass

import numpy as np

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
