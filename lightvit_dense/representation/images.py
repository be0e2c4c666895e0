"""The images that networks are compared on, a batch at a time."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.apis.explain import user_errors
from lightvit_dense.datasets.transforms import CenterResizedCrop, LoadImage
from lightvit_dense.datasets.unlabeled import EXTENSIONS, scan_images
from lightvit_dense.errors import UserError
from lightvit_dense.registry import DATASETS

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet's mean and deviation of RGB in 0..255, as in all the papers' recipes."""
SHARE = 224 / 256
"""Share of the shorter side that the crop keeps, as in ImageNet's evaluation."""


class ImageStream:
    """Images of a folder, or of a config's validation set, ready for a network.

    All images are listed in the order of their paths; a seed chooses and mixes ``limit`` of them,
    so that every batch has images of all classes although folders are sorted by class. The view is
    that of ImageNet's evaluation: the shorter side is resized and the centre cut out. Iterating
    reads one batch at a time, and gives the same images in the same order every time. A last batch
    may be smaller.

    Args:
        source: Folder of images, searched through all its sub-folders; or a config or its path
            (``.py``), whose ``val_dataloader.dataset`` is taken.
        size: Side of the view in px.
        batch_size: Images a batch.
        limit: Greatest number of images; 0 for all.
        seed: Seed of the choice.
        mean: Mean of the RGB channels of values in 0..255.
        std: Their deviation.
        device: Where batches go.
        progress: Called after a batch was used, with images done and in all.

    Raises:
        UserError: If the source is not there or has fewer images than one batch.
    """

    def __init__(
        self,
        source: str | Path | Config,
        size: int = 224,
        batch_size: int = 16,
        limit: int = 1024,
        seed: int = 0,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: str | torch.device = 'cpu',
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if batch_size < 1 or limit < 0 or size < 1:
            raise UserError(
                f'size {size}, batch size {batch_size} and limit {limit} must be positive (a limit '
                'of 0 takes all images)'
            )
        self.size, self.batch_size = size, batch_size
        self.source = str(source.filename or 'config') if isinstance(source, Config) else source
        available, self._info = _open(source)
        count = min(limit, available) if limit else available
        if count < batch_size:
            raise UserError(
                f'{self.source}: {count} images are taken of {available} (limit {limit}), fewer '
                f'than one batch of {batch_size}; give more images or a smaller --batch-size'
            )
        order = np.random.default_rng(seed).permutation(available)[:count]
        self._order: list[int] = order.tolist()
        self._load = LoadImage(color='rgb', exif=False)
        self._crop = CenterResizedCrop(size, share=SHARE)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device).reshape(shape)
        self._std = torch.tensor(std, dtype=torch.float32, device=device).reshape(shape)
        self._progress = progress

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._order)

    @property
    def paths(self) -> list[str]:
        """Paths of the images in the order in which they come; keys for those of an LMDB."""
        return [str(self._info(i).get('img_path')) for i in self._order]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield normalised batches [B, 3, size, size], fp32.

        Raises:
            DatasetError: If an image cannot be read; it names the image.
        """
        for start in range(0, len(self), self.batch_size):
            chosen = self._order[start : start + self.batch_size]
            pixels = np.stack([self._view(index) for index in chosen])
            # [B, H, W, 3] bytes -> [B, 3, H, W] floats, on the device
            images = torch.from_numpy(pixels).to(self._mean.device).permute(0, 3, 1, 2).float()
            yield (images - self._mean) / self._std
            self._progress(start + len(chosen), len(self))

    def _view(self, index: int) -> np.ndarray:
        info = dict(self._info(index), must_load=True)
        info.pop('instances', None)  # boxes are not moved with the crop
        if 'img' not in info:
            info = self._load(info)
        return np.asarray(self._crop(info)['img'])


def _open(source: str | Path | Config) -> tuple[int, Callable[[int], dict[str, Any]]]:
    """Return the number of images, and what tells where one is ('img_path', 'storage')."""
    if isinstance(source, Config) or str(source).endswith('.py'):
        dataset = _validation_set(source)
        return len(dataset), dataset.get_data_info
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(
            f'images {folder}: no such folder; give a folder of images, or a config (.py) whose '
            'validation set is to be taken'
        )
    # A list, not a data set: mmengine's collects garbage for a second as it is made.
    paths = list(scan_images(str(folder), EXTENSIONS, recursive=True))
    return len(paths), lambda index: {'img_path': paths[index]}


def _validation_set(source: str | Path | Config) -> Any:
    cfg = load_config(source)
    prepare_scope(cfg)
    options = copy.deepcopy((cfg.get('val_dataloader') or {}).get('dataset'))
    if not options:
        raise UserError(f'{cfg.filename or "the config"} has no val_dataloader; give a folder')
    with user_errors():
        dataset = DATASETS.build(dict(options, pipeline=[], test_mode=True))
    if not hasattr(dataset, 'get_data_info'):
        raise UserError(f'{type(dataset).__name__} does not tell its images; give a folder')
    return dataset
