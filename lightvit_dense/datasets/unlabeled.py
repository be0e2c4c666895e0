"""Images of a folder, labels ignored: the data of pre-training."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset

from lightvit_dense.registry import DATASETS
from lightvit_dense.utils.constants import IMAGE_EXTENSIONS
from lightvit_dense.utils.io import is_clutter

from .determinism import SeededItems
from .errors import DatasetError

EXTENSIONS = IMAGE_EXTENSIONS


def scan_images(folder: str, endings: tuple[str, ...] = EXTENSIONS) -> Iterator[str]:
    """Walk over files of some endings in the order of their paths, a folder at a time."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_clutter(entry.name):
                continue
            if entry.name.lower().endswith(endings) and not entry.is_dir():
                names.append(entry.name)
            elif entry.is_dir():
                names.append(f'{entry.name}/')  # sorts as the paths below it do
    for name in sorted(names):
        path = os.path.join(folder, name.rstrip('/'))
        if name.endswith('/'):
            yield from scan_images(path, endings)
        else:
            yield path


@DATASETS.register_module()
class ImageFiles(SeededItems, BaseDataset):
    """All images of a folder, in the order of their paths; ImageNet's class folders are welcome.

    Args:
        img_dir: Folder below ``data_root``, e.g. 'train' or 'coco/unlabeled2017'.
        **kwargs: As :class:`Records`, without ``with_labels`` and ``fraction``.

    Raises:
        DatasetError: If the folder does not exist or holds no image.
    """

    def __init__(self, data_root: str, img_dir: str = '', **kwargs: Any) -> None:
        super().__init__(data_root=data_root, data_prefix=dict(img_path=img_dir), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images."""
        folder = self.data_prefix['img_path'] or self.data_root  # the base class joined them
        if not os.path.isdir(folder):
            raise DatasetError(
                f'{folder}: this image folder does not exist. Set data_root (or the environment '
                'variable LIGHTVIT_DATA) to where the images are.'
            )
        paths = list(scan_images(folder))
        if not paths:
            raise DatasetError(
                f'{folder}: holds no image with an ending of {", ".join(EXTENSIONS)}. '
                'Check that the data were unpacked there.'
            )
        return [{'img_path': path} for path in paths]
