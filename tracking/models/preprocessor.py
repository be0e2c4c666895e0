"""Batches of pairs of crops to the device as bytes; normalised there."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightvit_dense.models.preprocessors import ImagePreprocessor
from lightvit_dense.utils.constants import IMAGENET_MEAN, IMAGENET_STD

from ..registry import MODELS


@MODELS.register_module()
class PairPreprocessor(ImagePreprocessor):
    """Stack and normalise template and search crops; sequences pass through untouched.

    So do the samples: the model sends the boxes of a batch to the device at once.

    Args:
        mean: Mean of the RGB channels, of values in 0..255; ImageNet's by default.
        std: Their standard deviation.
        non_blocking: Whether the copy from pinned memory overlaps with computation.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean, std, non_blocking=non_blocking)

    def normalize(self, crops: Tensor | Sequence[Tensor]) -> Tensor:
        """Return uint8 crops [B, 3, H, W], or a list of [3, H, W], normalised, fp32."""
        data: dict[str, Any] = dict(inputs=crops, data_samples=None)
        return super().forward(data)['inputs']

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise the crops of a collated batch; sequences have none."""
        inputs, samples = data['inputs'], data.get('data_samples')
        if not inputs:
            return {**data, 'inputs': {}, 'data_samples': samples}
        if not isinstance(inputs, Mapping) or set(inputs) != {'template', 'search'}:
            found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise ValueError(f"PairPreprocessor needs inputs 'template' and 'search', got {found}")
        crops = {name: self.normalize(value) for name, value in inputs.items()}
        return {**data, 'inputs': crops, 'data_samples': samples}
