"""Batches of several views to the device, normalised there."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...registry import MODELS
from .image import ImagePreprocessor


@MODELS.register_module()
class MultiViewPreprocessor(ImagePreprocessor):
    """Move the views of a batch to the device as they are (uint8) and normalise them there."""

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = True
    ) -> None:
        super().__init__(mean, std, non_blocking=non_blocking)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise ``inputs``, a list of views [B, 3, H, W], each a tensor or a list of them."""
        views = data['inputs']
        if isinstance(views, Tensor) or not len(views):
            raise ValueError(
                'MultiViewPreprocessor needs a list of views, got '
                f'{type(views).__name__}; end the pipeline with lightvit_dense.MultiView and '
                'lightvit_dense.PackViews'
            )
        views = [self._to_device(view) for view in views]
        return dict(data, inputs=[(view.float() - self.mean) / self.std for view in views])
