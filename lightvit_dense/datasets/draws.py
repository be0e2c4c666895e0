"""Random numbers of a sample: a function of its seed, and made for a whole batch at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Draws:
    """What the transforms draw, one after the other, by SplitMix64 (Steele et al. 2014).

    ``seeds`` are those of a batch, ``row`` the place of the sample's, and ``kept`` what has been
    drawn for the batch: its samples share it.
    """

    def __init__(self, seeds: Sequence[int], row: int = 0, kept: dict | None = None) -> None:
        self.seeds, self.row, self.seed = seeds, row, seeds[row]
        self._kept, self._taken = {} if kept is None else kept, 0

    @classmethod
    def of(cls, results: dict) -> 'Draws':
        """Return those of a sample; of one that has none, by a seed of numpy's generator."""
        if 'draws' not in results:
            results['draws'] = cls([np.random.randint(2**63)])
        return results['draws']

    def take(self, count: int) -> np.ndarray:
        """Return the next numbers of the whole batch, uniform in [0, 1): float64 [B, count]."""
        key, first = (self._taken, count), self._taken + 1
        self._taken += count
        if key not in self._kept:
            steps = np.arange(first, first + count, dtype=np.uint64)
            bits = np.array(self.seeds, np.uint64)[:, None] + steps * np.uint64(0x9E3779B97F4A7C15)
            bits = (bits ^ (bits >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> 27)) * np.uint64(0x94D049BB133111EB)
            self._kept[key] = ((bits ^ (bits >> 31)) >> 11) * 2.0**-53
        return self._kept[key]

    def draw(self, step: Any) -> list[Any]:
        """Return the sample's rows of what a transform's ``draw`` makes of ``slots`` numbers."""
        key, numbers = (self._taken, step), self.take(step.slots)
        if key not in self._kept:
            self._kept[key] = [drawn.tolist() for drawn in step.draw(numbers)]
        return [drawn[self.row] for drawn in self._kept[key]]
