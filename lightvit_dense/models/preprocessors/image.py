"""Batches of images to the device as bytes; flipped and normalised there."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor

from ...registry import MODELS
from .deferred import make_views


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Move images to the device as they are (uint8), then flip and normalise them.

    Bytes are a quarter of what floats would be to collate, to send between processes and to copy to
    the device. The result is that of mmengine's ``ImgDataPreprocessor``, bit for bit. Raises
    ValueError if mean and std are not three numbers each, or a deviation is not positive.

    Args:
        mean: Mean of the RGB channels, of values in 0..255.
        std: Their standard deviation.
        bgr_to_rgb: Whether the images are BGR.
        non_blocking: Whether the copy from pinned memory overlaps with computation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        bgr_to_rgb: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f'{type(self).__name__}: mean and std are three numbers each, std positive; '
                f'got {tuple(mean)} and {tuple(std)}'
            )
        self.register_buffer('mean', torch.tensor(mean).float().reshape(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).float().reshape(3, 1, 1), persistent=False)
        self.bgr_to_rgb = bgr_to_rgb

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise a batch; images of one size, [B, 3, H, W] or a list of [3, H, W], become fp32.

        ``flip``, bool [B] or a list, says which images to flip; the result has none. Images of
        ``collate_deferred`` are made here first. Tensors of the samples are moved to the device.
        ``training`` is not used.
        """
        data = make_views(data, self.mean.device, self._non_blocking)
        images = self._to_device(data['inputs'])
        if 'flip' in data:
            chosen = torch.as_tensor(data['flip']).to(images.device, non_blocking=True)
            images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
        if self.bgr_to_rgb:
            images = images.flip(1)
        # Channels may be last in memory; here they come first, in the same pass.
        images = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        samples = data.get('data_samples')
        rest = {key: value for key, value in data.items() if key not in ('inputs', 'flip')}
        return {
            **self.cast_data(dict(rest, data_samples=None)),
            'inputs': images.sub_(self.mean).div_(self.std),
            'data_samples': self._move_samples(samples),
        }

    def _to_device(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        if not isinstance(inputs, Tensor):
            sizes = {tuple(image.shape) for image in inputs}
            if len(sizes) != 1:
                raise ValueError(
                    f'{type(self).__name__}: images of a batch differ in size: {sorted(sizes)}. '
                    'End the pipeline with a crop or a resize to one size.'
                )
            inputs = torch.stack(list(inputs))
        if inputs.ndim != 4 or inputs.shape[1] != 3:
            raise ValueError(
                f'{type(self).__name__} needs images [B, 3, H, W], got {tuple(inputs.shape)}'
            )
        return inputs.to(self.mean.device, non_blocking=self._non_blocking)

    def _move_samples(self, samples: Any) -> Any:
        """Move samples to the device, unless there is nothing in them that could be moved."""
        if isinstance(samples, Sequence) and samples:
            fields = (
                samples[0].values() if isinstance(samples[0], BaseDataElement) else [samples[0]]
            )
            if not any(isinstance(field, Tensor) for field in fields):
                return samples
        return self.cast_data(samples)


@MODELS.register_module()
class MultiViewPreprocessor(ImagePreprocessor):
    """Move the views of a batch to the device as they are (uint8) and normalise them there."""

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = True
    ) -> None:
        super().__init__(mean, std, non_blocking=non_blocking)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise ``inputs``, a list of views [B, 3, H, W], each a tensor or a list of them."""
        data = make_views(data, self.mean.device, self._non_blocking)
        views = data['inputs']
        if isinstance(views, Tensor) or not len(views):
            raise ValueError(
                'MultiViewPreprocessor needs a list of views, got '
                f'{type(views).__name__}; end the pipeline with lightvit_dense.MultiView and '
                'lightvit_dense.PackViews'
            )
        views = [self._to_device(view) for view in views]
        return dict(data, inputs=[(view.float() - self.mean) / self.std for view in views])
