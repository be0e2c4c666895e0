"""What a masked autoencoder makes of hidden patches, as pictures."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from .pictures import Image


def square(image: Image, size: int) -> Image:
    """Cut the largest centred square out of an image and resize it.

    Args:
        image: uint8 [H, W, 3].
        size: Side of the result in pixels.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = image[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=interpolation)


@torch.no_grad()
def reconstruct(model: Any, images: Sequence[Image], seed: int = 0) -> list[list[Image]]:
    """Hide patches of images and let the model fill them in.

    Args:
        model: A pre-trainer with ``reconstruct`` and a ``backbone``, such as MAE.
        images: uint8 [H, W, 3] RGB, of any size.
        seed: Which patches are hidden.

    Returns:
        For each image ``[original, masked, reconstruction]``, uint8 [S, S, 3] RGB at the model's
        size S.
    """
    rows, columns = model.backbone.grid_size
    size = rows * model.backbone.patch_size
    preprocessor = model.data_preprocessor
    # The preprocessor may expect BGR and turn the channels round by itself.
    flip = getattr(preprocessor, '_channel_conversion', False)
    inputs = []
    for image in images:
        pixels = square(image, size)
        pixels = pixels[..., ::-1] if flip else pixels
        inputs.append(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    batch = preprocessor({'inputs': inputs}, False)['inputs']
    noise = torch.rand(len(inputs), rows * columns, generator=torch.Generator().manual_seed(seed))
    pictures = model.eval().reconstruct(batch, noise.to(batch.device))
    stacked = [pictures[name] for name in ('original', 'masked', 'reconstruction')]
    arrays = [x.round().byte().permute(0, 2, 3, 1).cpu().numpy() for x in stacked]
    return [[array[i] for array in arrays] for i in range(len(inputs))]
