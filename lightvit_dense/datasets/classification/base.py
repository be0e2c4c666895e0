"""What the data sets of transfer learning share."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from ..errors import DatasetError
from ..imagenet_index import check_present, open_tree
from ..records import Record, Records
from ..storage import open_storage


class ClassificationSet(Records):
    """A labelled set of images in the layout that its makers publish.

    Subclasses name their files and read them. A set that does not have the published number of
    images or classes is used as it is, with a warning that tells both numbers.

    Args:
        data_root: Folder that the set was unpacked to.
        split: 'train' or 'test', or another of ``SIZES``.
        source: 'folder', or 'lmdb' or 'packed' for images in an LMDB or packed images made of
            ``data_root`` (the lists stay files).
        lmdb_path: That LMDB, below ``data_root``.
        packed_path: Those packed images, below ``data_root``.
        cache_gb: As of :class:`ImageNet`.
        **kwargs: As :class:`Records`.

    Raises:
        DatasetError: If the split is unknown, a file is missing, damaged or foreign, a label is out
            of range, or a listed image is missing.
        ValueError: If the source is unknown.
    """

    TITLE: ClassVar[str]  # name of the set in messages
    ORIGIN: ClassVar[str]  # where it comes from and what to unpack: a sentence
    CLASSES: ClassVar[int]  # published number of classes
    SIZES: ClassVar[dict[str, int]]  # published number of images by split
    FILES: ClassVar[tuple[str, ...]] = ()  # files of a split, images aside; {} is its name there
    LISTS: ClassVar[dict[str, str]] = {}  # that name, where it is not ours
    # Reads these files: names of the classes by label; keys and labels of the images.
    read_split: Callable[[list[str]], tuple[list[str], Iterable[Record]]]

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        source: str = 'folder',
        lmdb_path: str = 'images.lmdb',
        packed_path: str = 'images.packed',
        cache_gb: float = 0,
        **kwargs: Any,
    ) -> None:
        self.required_files(data_root, split)
        self.split = split
        self.storage = open_storage(source, data_root, lmdb_path, packed_path, cache_gb)
        super().__init__(data_root, **kwargs)

    @classmethod
    def required_files(cls, data_root: str, split: str = 'train', **kwargs: Any) -> list[str]:
        """Check the split; return :meth:`list_files`; takes the class's arguments."""
        if split not in cls.SIZES:
            raise DatasetError(f'split of {cls.__name__} is one of {[*cls.SIZES]}, got {split!r}')
        return cls.list_files(data_root, split)

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from, images aside."""
        name = cls.LISTS.get(split, split)
        return [os.path.join(data_root, file.format(name)) for file in cls.FILES]

    def list_records(self) -> list[Record]:
        """Return the images and check them; ``metainfo`` names the classes."""
        root = os.fspath(self.data_root)
        files = self.required_files(root, self.split)
        for path in files:
            if not os.path.exists(path):
                raise DatasetError(
                    f'{path}: this file of {self.TITLE} does not exist. {self.ORIGIN} Set '
                    'data_root (or the environment variable LIGHTVIT_DATA) to where it lies.'
                )
        classes, listed = self.read_split(files)
        self._metainfo['classes'] = tuple(classes)
        records, where = list(listed), ', '.join(files[:2])
        for key, label in records:
            if not 0 <= label < len(classes):
                raise DatasetError(
                    f'{where}: {key} has the label {label}, out of the range of '
                    f'{len(classes)} classes (0..{len(classes) - 1}). Take the files of '
                    f'{self.TITLE} as they were published.'
                )
        self._check_images(records, where)
        published = self.SIZES[self.split]
        if (len(records), len(classes)) != (published, self.CLASSES):
            self._warn(
                f'{len(records)} images of {len(classes)} classes, where {published} of '
                f'{self.CLASSES} are published; it is used as it is'
            )
        return records

    def check_records(self) -> None:
        """Check that there are images, and warn of classes without any."""
        if not len(self.data_address):
            raise DatasetError(
                f'{self.data_root}: the split {self.split!r} of {self.TITLE} lists no image. Take '
                'its files as they were published.'
            )
        classes = self._metainfo['classes']
        counts = np.bincount(self.labels(), minlength=len(classes))
        empty = [classes[label] for label in np.flatnonzero(counts == 0)]
        if empty:
            self._warn(
                f'{len(empty)} of {len(classes)} classes have no image, such as '
                f'{", ".join(empty[:3])}'
            )

    def _check_images(self, records: Sequence[Record], where: str) -> None:
        """Check that the images exist."""
        check_present(open_tree(self.storage, ''), records, where)

    def _warn(self, text: str) -> None:
        line = f'{self.TITLE}, split {self.split!r} in {self.data_root}: {text}.'
        print_log(line, logger='current', level=30)
