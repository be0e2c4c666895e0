"""What a tracker calls frame by frame: crops in, a box out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Found = tuple[np.ndarray, float]


class FrameNetwork:
    """A network that is given the template once and then a search crop each frame."""

    # Returns what is kept of a template and the target's box [4] in parts of it.
    _begin: Callable[[np.ndarray, Tensor], Any]
    # Finds the target of each state in its search crop.
    _find: Callable[[list[np.ndarray]], list[Found]]

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self._states: list[Any] = []  # what is kept of the template of each target

    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template: RGB uint8 [h, w, 3], and the target's box [4] in pixels of it."""
        self.set_templates([crop], [box])

    def set_templates(self, crops: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> None:
        """Take the templates of several targets."""
        side = self.model.template_size
        for crop in crops:
            check_crop(crop, 'template', side)
        with torch.inference_mode():
            self._states = [
                self._begin(np.ascontiguousarray(crop), torch.as_tensor(np.float32(box)) / side)
                for crop, box in zip(crops, boxes, strict=True)
            ]

    def __call__(self, crop: np.ndarray) -> Found:
        """Find the target in a search crop: box [4] in pixels of it, and its score in 0..1."""
        return self.find_all([crop])[0]

    def find_all(self, crops: Sequence[np.ndarray]) -> list[Found]:
        """Find several targets, each in a search crop of its own, in the order of templates."""
        if not self._states:
            raise ValueError('the network has no template yet: call set_template first')
        if len(crops) != len(self._states):
            raise ValueError(f'{len(crops)} search crops for {len(self._states)} templates')
        for crop in crops:
            check_crop(crop, 'search', self.model.search_size)
        with torch.inference_mode():
            return self._find([np.ascontiguousarray(crop) for crop in crops])


def check_crop(crop: np.ndarray, what: str, side: int) -> None:
    """Refuse a crop that is not RGB uint8 [side, side, 3]."""
    if crop.dtype != np.uint8 or crop.shape != (side, side, 3):
        raise ValueError(
            f'the {what} crop must be RGB uint8 [{side}, {side}, 3], '
            f'got {crop.dtype} {list(crop.shape)}'
        )
