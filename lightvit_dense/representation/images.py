"""The images that networks are compared on, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.datasets.transforms import CenterResizedCrop, LoadImage
from lightvit_dense.datasets.unlabeled import scan_images
from lightvit_dense.errors import UserError
from lightvit_dense.utils.constants import IMAGENET_MEAN, IMAGENET_STD

CROP_RATIO = 224 / 256
"""Of the shorter side, what the crop keeps in ImageNet's evaluation."""


class ImageStream:
    """Images of a folder or a data set (with ``get_data_info``), ready for a network.

    A seed chooses and mixes ``limit`` of the sorted paths (0: all), so that every batch has images
    of all classes. The view is that of ImageNet's evaluation, ``size`` px a side, normalised by
    ``mean`` and ``std`` of values in 0..255. Iterating gives the same images every time.
    """

    def __init__(
        self,
        source: Any,
        size: int = 224,
        batch_size: int = 16,
        limit: int = 1024,
        seed: int = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        device: str | torch.device = 'cpu',
    ) -> None:
        if batch_size < 1 or limit < 0 or size < 1:
            raise UserError(
                f'size {size}, batch size {batch_size} and limit {limit} must be positive (a limit '
                'of 0 takes all images)'
            )
        self.size, self.batch_size = size, batch_size
        available, self._info = _open(source)
        count = min(limit, available) if limit else available
        if count < batch_size:
            name = source if isinstance(source, (str, Path)) else type(source).__name__
            raise UserError(
                f'{name}: {count} images are taken of {available} (limit {limit}), fewer '
                f'than one batch of {batch_size}; give more images or a smaller --batch-size'
            )
        self._order: list[int] = np.random.default_rng(seed).permutation(available)[:count].tolist()
        self._load = LoadImage(color='rgb', exif=False)
        self._crop = CenterResizedCrop(size, ratio=CROP_RATIO)
        self._mean, self._std = (
            torch.tensor(x, dtype=torch.float32, device=device).reshape(1, 3, 1, 1)
            for x in (mean, std)
        )

    def __len__(self) -> int:
        return len(self._order)

    @property
    def paths(self) -> list[str]:
        """Paths of the images in the order in which they come; keys for those of an LMDB."""
        return [str(self._info(i).get('img_path')) for i in self._order]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield normalised batches [B, 3, size, size], fp32; an error names a bad image."""
        for start in range(0, len(self), self.batch_size):
            chosen = self._order[start : start + self.batch_size]
            pixels = np.stack([self._view(index) for index in chosen])
            # [B, H, W, 3] bytes -> [B, 3, H, W] floats, on the device
            images = torch.from_numpy(pixels).to(self._mean.device).permute(0, 3, 1, 2).float()
            yield (images - self._mean) / self._std

    def _view(self, index: int) -> np.ndarray:
        info = dict(self._info(index), must_load=True)
        info.pop('instances', None)  # boxes are not moved with the crop
        if 'img' not in info:
            info = self._load(info)
        return np.asarray(self._crop(info)['img'])


def _open(source: Any) -> tuple[int, Callable[[int], dict[str, Any]]]:
    """Return the number of images, and what tells where one is ('img_path', 'storage')."""
    if hasattr(source, 'get_data_info'):
        return len(source), source.get_data_info
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(
            f'images {folder}: no such folder; give a folder of images, or a config (.py) whose '
            'validation set is to be taken'
        )
    # A list, not a data set: mmengine's collects garbage for a second as it is made.
    paths = list(scan_images(str(folder)))
    return len(paths), lambda index: {'img_path': paths[index]}
