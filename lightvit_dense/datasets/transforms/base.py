"""What all transforms share: how they are printed, and how they draw."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from lightvit_dense.compat.mmcv_resize import install
from lightvit_dense.datasets.draws import Draws

Changes = Sequence[tuple[str, Sequence[float]]]  # names of operations, and parameters

install()


class Transform(BaseTransform):
    """A transform that prints its settings."""

    def __repr__(self) -> str:
        settings = (f'{k}={v!r}' for k, v in vars(self).items() if not k.startswith('_'))
        return f'{type(self).__name__}({", ".join(settings)})'


class RandomChange(Transform):
    """Changes 'img', RGB, with a probability; the device may do it for a batch."""

    ops: tuple[str, ...]  # of DEVICE_OPS, which do what ``apply`` does
    slots = 2  # how many random numbers ``draw`` needs
    # Limits of the one parameter, and how many columns repeat it.
    _low, _high, _columns = 0.0, 0.0, 1

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob} is no probability')
        self.prob = prob

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn random numbers [N, slots] into changes of N images.

        Returns which of ``ops`` comes first, second, ..., -1 for none, int [N, n], and their
        parameters, float64 [N, n, P].
        """
        given = self._low + (self._high - self._low) * numbers[:, 1:]
        changes = np.where(numbers[:, :1] < self.prob, 0, -1)
        return changes, given.repeat(self._columns, 1)[:, None]

    def apply(self, image: np.ndarray, changes: Changes) -> np.ndarray:
        """Return a changed copy of uint8 [H, W, 3]."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Change 'img' or leave it (uint8 RGB [H, W, 3])."""
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} needs uint8 [H, W, 3], got {image.dtype} '
                f'{image.shape}; put it before any conversion to float'
            )
        drawn = zip(*Draws.of(results).draw(self), strict=True)
        changes = [(self.ops[op], given) for op, given in drawn if op >= 0]
        if changes:
            results['img'] = self.apply(image, changes)
        return results
