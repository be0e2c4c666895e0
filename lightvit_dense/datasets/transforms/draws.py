"""Single numbers of numpy's global generator, as its functions draw them, but cheaply."""

import numpy as np

random = np.random.random_sample
"""A number of [0, 1)."""
_raw = np.random.get_bit_generator().random_raw


def uniform(low: float, high: float) -> float:
    """Return ``np.random.uniform(low, high)``."""
    return low + (high - low) * random()


def below(limit: int) -> int:
    """Return ``np.random.randint(limit)``, of at most 2**32 - 1."""
    if limit == 1:
        return 0
    mask = (1 << (limit - 1).bit_length()) - 1
    while (value := _raw() & mask) >= limit:
        pass
    return value


def permutation(size: int) -> list[int]:
    """Return ``np.random.permutation(size)``."""
    order = list(range(size))
    for last in range(size - 1, 0, -1):
        other = below(last + 1)
        order[last], order[other] = order[other], order[last]
    return order
