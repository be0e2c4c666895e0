"""What a tracker calls frame by frame: crops in, a box out."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor


class FrameNetwork(ABC):
    """A network that is given the template once and then a search crop each frame."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self._begun = False

    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template: RGB uint8 [h, w, 3], and the target's box [4] in pixels of it."""
        side = self.model.template_size
        check_crop(crop, 'template', side)
        with torch.inference_mode():
            self._begin(np.ascontiguousarray(crop), torch.as_tensor(np.float32(box)) / side)
        self._begun = True

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in a search crop: box [4] in pixels of it, and its score in 0..1."""
        with torch.inference_mode():
            return self._find(self._checked(crop))

    def _checked(self, crop: np.ndarray) -> np.ndarray:
        if not self._begun:
            raise ValueError('the network has no template yet: call set_template first')
        check_crop(crop, 'search', self.model.search_size)
        return np.ascontiguousarray(crop)

    @abstractmethod
    def _begin(self, crop: np.ndarray, box: Tensor) -> None:
        """Take the template and the target's box [4] in parts of it."""

    @abstractmethod
    def _find(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in a search crop."""


def check_crop(crop: np.ndarray, what: str, side: int) -> None:
    """Refuse a crop that is not RGB uint8 [side, side, 3]."""
    if crop.dtype != np.uint8 or crop.shape != (side, side, 3):
        raise ValueError(
            f'the {what} crop must be RGB uint8 [{side}, {side}, 3], '
            f'got {crop.dtype} {list(crop.shape)}'
        )
