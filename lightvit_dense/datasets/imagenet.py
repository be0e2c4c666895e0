"""ImageNet-1k, and any data laid out alike, from a folder or an LMDB."""

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init

from lightvit_dense.registry import DATASETS

from .determinism import SeededItems
from .errors import DatasetError
from .imagenet_index import (
    FolderTree,
    ImageList,
    LmdbTree,
    Record,
    Tree,
    check_classes,
    check_present,
    labelled_tree,
    read_classes,
)
from .storage import FolderStorage, LmdbStorage
from .unlabeled import EXTENSIONS

_LABEL = struct.Struct('<i')


class _Records(BaseDataset):
    """mmengine's data set with entries of a label and a key instead of pickled dicts.

    The layout of ``data_bytes`` and ``data_address`` stays mmengine's, so that wrappers and subsets
    work; an entry of ImageNet takes about 45 bytes.
    """

    _fully_initialized: bool

    def pack(self, records: Iterable[Record]) -> None:
        """Store records one after the other, without ever holding them all as objects."""
        buffer, ends = bytearray(), array('q')
        for key, label in records:
            buffer += _LABEL.pack(label)
            buffer += key.encode(errors='surrogateescape')
            ends.append(len(buffer))
        self.data_bytes = np.frombuffer(buffer, np.uint8)
        self.data_address = np.frombuffer(ends, np.int64)

    def entry(self, index: int) -> Record:
        """Return the key and the label of an image."""
        stop = int(self.data_address[index])
        start = int(self.data_address[index - 1]) if index % len(self.data_address) else 0
        content = self.data_bytes[start:stop].tobytes()
        return content[4:].decode(errors='surrogateescape'), _LABEL.unpack_from(content)[0]

    def labels(self) -> np.ndarray:
        """Return all labels, int32 [number of images]."""
        starts = np.concatenate([[0], self.data_address[:-1]]).astype(np.int64)
        # [N, 4] bytes -> [N] integers
        return self.data_bytes[starts[:, None] + np.arange(4)].view('<i4')[:, 0]


@DATASETS.register_module()
class ImageNet(SeededItems, _Records):
    """Images in class folders, with labels or without, from a folder or an LMDB.

    Folders are ``<img_dir>/<class>/<image>``; validation images may also lie in ``img_dir`` itself
    with a list of their labels. An LMDB has the same paths as keys (see
    ``tools/dataset_converters/make_lmdb.py``); both sources give the same images in the same order.
    Items carry 'img_path' (the key), 'storage' (what reads it) and 'gt_label'.

    Args:
        data_root: Root of the data.
        img_dir: Folder below it, 'train' or 'val'.
        ann_file: List of images below ``data_root``, to use them only: lines ``path label`` (as for
            ImageNet-LT and flat validation folders), ``path``, or names such as
            ``n01440764_10026.JPEG`` (as for the lists of 1% and 10%). '' for all images.
        classes: Names of the classes in the order of their labels; or a file below ``data_root``
            with one a line; or another image folder, such as 'train' for validation, whose class
            folders they are; None for the sorted names of the folders.
        source: 'folder' or 'lmdb'.
        lmdb_path: The LMDB below ``data_root``, made of ``data_root``.
        with_labels: False for pre-training: all images below ``img_dir`` in the order of their
            paths, whatever their folders.
        extensions: Endings of image files; upper case counts alike.
        pipeline: Transforms.
        indices: Take the first so many images (int), or those at these places.
        test_mode: Whether a bad image is an error in any case.
        max_refetch: How many other images to try in place of a bad one.
        lazy_init: Whether to read nothing until it is needed.

    Raises:
        DatasetError: If folder, LMDB or list do not exist or are damaged, classes and folders do
            not match, a class has no image, a label is out of range, or a listed image is missing.
    """

    def __init__(
        self,
        data_root: str,
        img_dir: str = 'train',
        ann_file: str = '',
        classes: str | Sequence[str] | None = None,
        source: str = 'folder',
        lmdb_path: str = 'imagenet.lmdb',
        with_labels: bool = True,
        extensions: Sequence[str] = EXTENSIONS,
        pipeline: Sequence[dict | Callable] = (),
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        max_refetch: int = 1000,
        lazy_init: bool = False,
    ) -> None:
        if source not in ('folder', 'lmdb'):
            raise ValueError(f"source must be 'folder' or 'lmdb', got {source!r}")
        self.img_dir = img_dir.strip('/')
        self.source, self.with_labels = source, with_labels
        self.lmdb_path = os.path.join(data_root, lmdb_path)
        self.given_classes = classes
        self.extensions = tuple(e.lower() for e in extensions)
        self.storage: FolderStorage | LmdbStorage = (
            LmdbStorage(self.lmdb_path) if source == 'lmdb' else FolderStorage(data_root)
        )
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix={},
            pipeline=list(pipeline),
            indices=indices,
            test_mode=test_mode,
            max_refetch=max_refetch,
            lazy_init=lazy_init,
        )

    def full_init(self) -> None:
        """List the images and check what was listed."""
        if self._fully_initialized:
            return
        self.pack(self._records(self._tree()))
        if not len(self.data_address):
            raise DatasetError(
                f'{self._tree().name}: holds no image with an ending of '
                f'{", ".join(self.extensions)}. Check that the data were unpacked there.'
            )
        if isinstance(self.storage, LmdbStorage):
            self.storage.close()  # workers open it for themselves
        self._fully_initialized = True
        chosen = self._indices
        if chosen is not None:
            if isinstance(chosen, int):
                places = np.arange(len(self))
                chosen = (places[:chosen] if chosen >= 0 else places[chosen:]).tolist()
            self.get_subset_(list(chosen))

    def _tree(self, folder: str | None = None) -> Tree:
        folder = self.img_dir if folder is None else folder.strip('/')
        if isinstance(self.storage, LmdbStorage):
            return LmdbTree(self.storage, folder, self.extensions)
        return FolderTree(os.fspath(self.data_root), folder, self.extensions)

    def _records(self, tree: Tree) -> Iterable[Record]:
        classes = self._find_classes(tree) if self.with_labels else None
        if classes is not None:
            self._metainfo['classes'] = tuple(classes)
        if self.ann_file:
            records = ImageList(self.ann_file, self.img_dir, classes, self.extensions).records()
            check_present(tree, records, self.ann_file)
            return records
        if classes is None:
            return ((key, -1) for key in tree.keys())  # noqa: SIM118
        return labelled_tree(tree, classes)

    def _find_classes(self, tree: Tree) -> list[str]:
        """Return the classes: those given, which the folders have to match, or the folders."""
        folders = tree.classes()
        given = self.given_classes
        if given is None:
            if folders:
                return folders
            raise DatasetError(
                f'{tree.name}: has no class folders, so the classes are unknown. Set `classes` to '
                "the folder of the training images ('train') or to a file with one class a line, "
                'and ann_file to a list of "name label" lines; or set with_labels=False.'
            )
        classes = self._read_classes(given) if isinstance(given, str) else list(given)
        if folders or not self.ann_file:
            check_classes(classes, folders, tree.name)
        return classes

    def _read_classes(self, given: str) -> list[str]:
        """Return the classes of a file or of another image folder."""
        path = os.path.join(os.fspath(self.data_root), given)
        if os.path.isfile(path):
            return read_classes(path)
        if self.source == 'lmdb' or os.path.isdir(path):
            found = self._tree(given).classes()
            if found:
                return found
        raise DatasetError(
            f'{path}: classes={given!r} is neither a class list nor a folder with class folders. '
            'Set `classes` to one of them.'
        )

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return what is known of an image before it is read."""
        key, label = self.entry(idx)
        info: dict[str, Any] = {
            'img_path': key,
            'storage': self.storage,
            'sample_idx': idx if idx >= 0 else len(self) + idx,
        }
        if self.with_labels:
            info['gt_label'] = label
        if self.test_mode:
            info['must_load'] = True
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of an image, as mmengine's ``ClassBalancedDataset`` asks for it."""
        return [self.entry(idx)[1]]
