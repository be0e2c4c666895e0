"""Batches of images, written once."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from lightvit_dense.registry import FUNCTIONS

from .errors import DatasetError


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Make a tensor; in a worker in shared memory, so that handing it over copies nothing."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


@FUNCTIONS.register_module()
def collate_images(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of packed images of one size.

    Each image is copied once, as it lies in memory with its channels last, to its place in the
    batch. In a worker that place is in memory shared with the process that trains. Returns 'inputs'
    [B, 3, H, W] in channels_last format, a list of 'data_samples', and 'flip', bool [B], where
    samples have it.
    """
    images = [sample['inputs'] for sample in samples]
    channels, height, width = images[0].shape
    batch = _empty((len(images), height, width, channels), images[0].dtype)
    for place, image in zip(batch, images, strict=True):
        if image.shape != images[0].shape:
            raise DatasetError(
                f'images of a batch differ in size: {tuple(images[0].shape)} and '
                f'{tuple(image.shape)}. End the pipeline with a crop or a resize to one size.'
            )
        place.copy_(image.permute(1, 2, 0))  # [3, H, W] -> [H, W, 3]
    collated: dict[str, Any] = {
        'inputs': batch.permute(0, 3, 1, 2),  # [B, H, W, 3] -> [B, 3, H, W], a view
        'data_samples': [sample['data_samples'] for sample in samples],
    }
    if 'flip' in samples[0]:
        collated['flip'] = torch.tensor([sample['flip'] for sample in samples])
    return collated
