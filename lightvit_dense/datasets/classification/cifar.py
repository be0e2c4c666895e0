"""CIFAR-100 (Krizhevsky, 2009), its pickles read without running code in them."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.checkpoints import pickles
from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..records import Record
from .base import ClassificationSet

_PIXELS = 3 * 32 * 32  # planes of red, green and blue


class ArrayStorage:
    """Images of one array, handed out as files that any decoder reads without a loss (PPM).

    The array, RGB uint8 [N, H, W, 3], is never copied: worker processes that are forked share it.
    """

    def __init__(self, images: np.ndarray, prefix: str) -> None:
        self.images, self.prefix = images, prefix
        height, width = images.shape[1:3]
        self.header = f'P6\n{width} {height}\n255\n'.encode()

    def key(self, number: int) -> str:
        """Return the key of an image."""
        return f'{self.prefix}/{number:05d}.ppm'

    def read(self, key: str) -> bytes:
        """Return a file."""
        number = Path(key).stem
        if not number.isdecimal() or key != self.key(int(number)) or int(number) >= len(self):
            raise FileNotFoundError(f'{self!r} has no image {key!r}')
        return self.header + self.images[int(number)].tobytes()

    def __len__(self) -> int:
        return len(self.images)

    def __deepcopy__(self, memo: dict) -> 'ArrayStorage':
        return self

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.images.shape}, {self.prefix!r})'


@DATASETS.register_module()
class CIFAR100(ClassificationSet):
    """CIFAR-100 with its 100 fine labels, from the Python version.

    ``data_root`` holds ``cifar-100-python`` (``train``, ``test``, ``meta``) or is it. Pickles are
    read without running code in them. Classes are in the published, alphabetical order. All images
    are held in memory, 154 MB to train. Takes the arguments of :class:`ClassificationSet`; there
    are no image files, hence no ``source``.
    """

    TITLE = 'CIFAR-100'
    ORIGIN = (
        "The set comes from Alex Krizhevsky's site, University of Toronto: unpack "
        'cifar-100-python.tar.gz.'
    )
    CLASSES = 100
    SIZES = dict(train=50000, test=10000)

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        if kwargs.keys() & {'source', 'lmdb_path', 'packed_path', 'cache_gb'}:
            raise TypeError('CIFAR100 has no image files, hence neither source nor lmdb_path')
        super().__init__(data_root, split, **kwargs)

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from: labels' names, images."""
        inside = not os.path.isfile(os.path.join(data_root, split))
        place = os.path.join(data_root, 'cifar-100-python' if inside else '')
        return [os.path.join(place, name) for name in ('meta', split)]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read images and labels."""
        names, planes, labels = _from_pickles(*files)
        # [N, 3*32*32] -> [N, 3, 32, 32] -> [N, 32, 32, 3]
        images = np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        self.storage = ArrayStorage(images, self.split)
        return names, [(self.storage.key(n), int(label)) for n, label in enumerate(labels)]

    def _check_images(self, records: Sequence[Record], where: str) -> None:
        """Do nothing: images and labels come from one file."""


def _from_pickles(meta: str, images: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    classes, content = read_pickle(meta), read_pickle(images)
    for path, found, key in (
        (meta, classes, 'fine_label_names'),
        (images, content, 'data'),
        (images, content, 'fine_labels'),
    ):
        if not isinstance(found, dict) or key not in found:
            raise DatasetError(
                f"{path}: has no {key!r}, so it is no file of CIFAR-100's Python version. Fetch it "
                'again.'
            )
    data, labels = np.asarray(content['data']), np.asarray(content['fine_labels'])
    if data.shape != (len(labels), _PIXELS) or data.dtype != np.uint8 or labels.dtype.kind != 'i':
        raise DatasetError(
            f'{images}: images are {data.dtype} {data.shape} for {len(labels)} labels, expected '
            f'are uint8 ({len(labels)}, {_PIXELS}). Fetch it again.'
        )
    return [str(name) for name in classes['fine_label_names']], data, labels


def read_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of arrays, text and plain containers, as Python 2 wrote CIFAR's."""
    try:
        return _plain(pickles.read_pickle(path))
    except pickle.UnpicklingError as error:
        raise DatasetError(
            f'{path}: is not opened, as it is damaged or asks for more than arrays and text '
            f'({error}). Fetch the file again from where it was published.'
        ) from error
    except Exception as error:  # damaged pickles raise errors of any kind
        raise DatasetError(
            f'{path}: is no pickle, or truncated ({type(error).__name__}: {error}). Fetch it again.'
        ) from error


def _plain(value: Any) -> Any:
    """Turn bytes into text in dicts and lists."""
    if isinstance(value, bytes):
        return value.decode('latin1')
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value] if value and isinstance(value[0], bytes) else value
    return value
