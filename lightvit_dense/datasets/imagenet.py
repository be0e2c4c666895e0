"""ImageNet-1k, and any data laid out alike, from a folder, an LMDB or packed images."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from lightvit_dense.registry import DATASETS
from lightvit_dense.utils.ranks import from_rank_zero

from . import imagenet_index as index
from .errors import DatasetError
from .records import Record, Records
from .storage import open_storage
from .unlabeled import EXTENSIONS


@DATASETS.register_module()
class ImageNet(Records):
    """Images in class folders, with labels or without, from a folder or an LMDB.

    Folders are ``<img_dir>/<class>/<image>``; validation images may also lie in ``img_dir`` itself
    with a list of their labels. An LMDB has the same paths as keys (see
    ``tools/dataset_converters/make_lmdb.py``); both sources give the same images in the same order.
    Items carry 'img_path' (the key), 'storage' (what reads it) and 'gt_label'.

    Args:
        img_dir: Folder below ``data_root``, 'train' or 'val'.
        ann_file: List of images below ``data_root``, to use them only: lines ``path label`` (as for
            ImageNet-LT and flat validation folders), ``path``, or names such as
            ``n01440764_10026.JPEG`` (as for the lists of 1% and 10%). '' for all images.
        classes: Names of the classes in the order of their labels; or a file below ``data_root``
            with one a line; or another image folder, such as 'train' for validation, whose class
            folders they are; None for the sorted names of the folders.
        folders: What the names of the class folders are: 'names' of classes, or 'labels', that is
            numbers from 0 (as in ImageNet-V2, where the order of text, '10' before '2', would give
            every image a wrong label).
        source: 'folder', 'lmdb', or 'packed' for smaller images, see :class:`PackedStorage`.
        lmdb_path: The LMDB below ``data_root``, made of ``data_root``.
        packed_path: The packed images below ``data_root``, made of ``data_root``.
        cache_gb: How much of the packed images to hold in shared memory, once a node, in GB.
        with_labels: False for pre-training: all images below ``img_dir`` in the order of their
            paths, whatever their folders.
        **kwargs: As :class:`Records`. Without labels ``fraction`` keeps the class folders in
            balance, so that pre-training can take the very same images.

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
        folders: str = 'names',
        source: str = 'folder',
        lmdb_path: str = 'imagenet.lmdb',
        packed_path: str = 'imagenet.packed',
        cache_gb: float = 0,
        with_labels: bool = True,
        **kwargs: Any,
    ) -> None:
        if folders not in ('names', 'labels'):
            raise ValueError(f"folders must be 'names' or 'labels', got {folders!r}")
        if folders == 'labels' and ann_file:
            raise ValueError("folders='labels' goes with all images, not with an ann_file")
        self.img_dir, self.folders = img_dir.strip('/'), folders
        self.source = source
        self.given_classes = classes
        self.storage = open_storage(source, data_root, lmdb_path, packed_path, cache_gb)
        super().__init__(data_root, with_labels, ann_file=ann_file, **kwargs)

    def scan(self) -> None:
        """List the images on rank 0 alone, which gives them to the others of its job."""

        def listed() -> tuple[Any, ...]:
            super(ImageNet, self).scan()
            return self.data_bytes, self.data_address, self._metainfo

        # A data loader's worker is no rank, though it inherits the process group.
        found = listed() if get_worker_info() else from_rank_zero(listed)
        self.data_bytes, self.data_address, self._metainfo = found

    def list_records(self) -> Iterable[Record]:
        """Return the images; with labels, ``metainfo`` names their classes."""
        tree = self._tree()
        classes = self._find_classes(tree) if self.with_labels else None
        if classes is not None:
            self._metainfo['classes'] = tuple(classes)
        if self.ann_file:
            records = index.read_image_list(self.ann_file, self.img_dir, classes)
            index.check_present(tree, records, self.ann_file)
            return records
        if classes is None:
            return ((key, -1) for key in tree.keys())  # noqa: SIM118
        if self.folders == 'labels':
            label_of = index.numbered(tree.classes(), len(classes), tree.name)
        else:
            label_of = {name: label for label, name in enumerate(classes)}
        return index.labelled_tree(tree, label_of)

    def check_records(self) -> None:
        """Check that there are images."""
        if not len(self.data_address):
            raise DatasetError(
                f'{self._tree().name}: holds no image with an ending of '
                f'{", ".join(EXTENSIONS)}. Check that the data were unpacked there.'
            )

    def groups(self) -> np.ndarray:
        """Return the labels; where there are none, the places of the sorted class folders."""
        if self.with_labels:
            return self.labels()
        start = len(self.img_dir) + 1 if self.img_dir else 0
        keys = (self.entry(place)[0] for place in range(len(self)))
        folders = [key[start:].rpartition('/')[0].partition('/')[0] for key in keys]
        return np.unique(np.array(folders), return_inverse=True)[1]

    def _tree(self, folder: str | None = None) -> index.Tree:
        folder = self.img_dir if folder is None else folder.strip('/')
        return index.open_tree(self.storage, folder)

    def _find_classes(self, tree: index.Tree) -> list[str]:
        """Return the classes: those given, which the folders have to match, or the folders."""
        folders = tree.classes()
        given = self.given_classes
        if given is None:
            if folders and self.folders == 'labels':
                return [str(label) for label in range(len(folders))]
            if folders:
                index.check_text_order(folders, tree.name)
                return folders
            raise DatasetError(
                f'{tree.name}: has no class folders, so the classes are unknown. Set `classes` to '
                "the folder of the training images ('train') or to a file with one class a line, "
                'and ann_file to a list of "name label" lines; or set with_labels=False.'
            )
        classes = self._read_classes(given) if isinstance(given, str) else list(given)
        # Folders of a listed data set may be no classes at all.
        if self.folders == 'names' and (set(folders) & set(classes) or not self.ann_file):
            index.check_classes(classes, folders, tree.name)
        return classes

    def _read_classes(self, given: str) -> list[str]:
        """Return the classes of a file or of another image folder."""
        path = os.path.join(os.fspath(self.data_root), given)
        if os.path.isfile(path):
            return index.read_classes(path)
        if self.source != 'folder' or os.path.isdir(path):
            found = self._tree(given).classes()
            if found:
                return found
        raise DatasetError(
            f'{path}: classes={given!r} is neither a class list nor a folder with class folders. '
            'Set `classes` to one of them.'
        )
