"""Whatever a caller calls an image, as what a backbone takes."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from lightvit_dense.apis.inference import InferenceError, Picture, Sources
from lightvit_dense.apis.inference.sources import VIDEOS
from lightvit_dense.apis.preparation import Preparation
from lightvit_dense.errors import UserError

CROP = 'lightvit_dense.CenterResizedCrop'


def as_pixels(image: Any) -> Any:
    """Return PIL images and uint8 tensors [3 or 1, H, W] as arrays; anything else as it is."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert('RGB'))
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
            raise InferenceError(
                f'a tensor {image.dtype} {list(image.shape)} is no picture here: give uint8 '
                '[3, H, W] in RGB order'
            )
        return image.permute(1, 2, 0).cpu().numpy()
    return image


def is_single(images: Any) -> bool:
    """Tell whether a caller means one picture, not a collection of them."""
    if isinstance(images, (str, os.PathLike)):
        path = os.fspath(images)
        return not os.path.isdir(path) and not path.lower().endswith(VIDEOS)
    if isinstance(images, (Tensor, np.ndarray)):
        return images.ndim <= 3
    return isinstance(images, Image.Image)


def each(images: Any) -> Iterable[Any]:
    """List the pictures that a caller means, as paths and arrays; see :class:`Model`."""
    if isinstance(images, (str, os.PathLike)) or is_single(images):
        return [as_pixels(images)]
    if not isinstance(images, Iterable):
        raise InferenceError(
            f'a {type(images).__name__} is no picture: give a path, an array, a PIL image, a '
            'tensor, or a list of these'
        )
    return (as_pixels(image) for image in images)


class BatchReader:
    """Normalised batches of pictures, by a config's test transforms, or of float tensors."""

    def __init__(
        self, cfg: Config, mean: Any, std: Any, multiple: int, device: torch.device
    ) -> None:
        self._prepare = Preparation(cfg)
        self.mean, self.std = (
            torch.as_tensor(x, dtype=torch.float32).reshape(3, 1, 1).to(device) for x in (mean, std)
        )
        self.multiple, self.device = multiple, device

    def __call__(self, images: Any, batch_size: int) -> Iterator[Tensor]:
        """Yield batches float32 [b, 3, H, W], at least one, of what :func:`each` takes."""
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size}: must be positive')
        if isinstance(images, Tensor) and images.is_floating_point():
            yield from self._normalised(images).split(batch_size)
            return
        pictures = enumerate(Sources(each(images), exif=self._prepare.exif))
        prepared = (self._pixels(picture, number) for number, picture in pictures)
        batch = list(islice(prepared, batch_size))
        if not batch:
            raise InferenceError('no picture was given')
        while batch:
            yield self._batch(batch)
            batch = list(islice(prepared, batch_size))

    def _pixels(self, picture: Any, number: int) -> Tensor:
        if not isinstance(picture, Picture):
            raise InferenceError(str(picture))
        return self._prepare(picture, number)['inputs']

    def _batch(self, pixels: list[Tensor]) -> Tensor:
        sizes = {tuple(image.shape) for image in pixels}
        if len(sizes) > 1:
            raise InferenceError(
                f'the test transforms leave pictures of several sizes ({sorted(sizes)}): give '
                'batch_size=1, or load(..., image_size=PX)'
            )
        batch = torch.stack(pixels).to(self.device).float()
        return self._checked((batch - self.mean) / self.std)

    def _normalised(self, images: Tensor) -> Tensor:
        images = images[None] if images.ndim == 3 else images
        if images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise InferenceError(
                f'a float tensor {list(images.shape)} is no batch of images: give [B, 3, H, W], '
                'normalised, or pixels as uint8'
            )
        return self._checked(images.to(self.device, torch.float32))

    def _checked(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise InferenceError(
                f'images of {height}x{width} pixels: the sides must be multiples of '
                f'{self.multiple}; resize them, or give load(..., image_size=PX)'
            )
        return images


def evaluation_pipeline(size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the transforms of ImageNet's evaluation at (height, width) in pixels."""
    return [
        dict(type='lightvit_dense.LoadImage', color='rgb', exif=False),
        dict(type=CROP, size=size),
        dict(type='lightvit_dense.PackImage'),
    ]


def resized_pipeline(pipeline: Iterable[Any], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the test transforms of a classifier with another (height, width) of the crop."""
    steps = [dict(step) for step in pipeline]
    crops = [step for step in steps if str(step['type']).rpartition('.')[2] == 'CenterResizedCrop']
    if not crops:
        raise UserError(
            f'image_size={size}: the test pipeline of the config has no {CROP}; change the '
            'pipeline in the config instead'
        )
    crops[-1]['size'] = size
    return steps
