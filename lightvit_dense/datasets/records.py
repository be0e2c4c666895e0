"""Labelled images held as entries of a label and a key, a few dozen bytes each."""

import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log

from .determinism import SeededItems
from .packed import PackedStorage
from .storage import LmdbStorage, Storage
from .subsets import balanced_subset, check_fraction

Record = tuple[str, int]
"""Key of an image, and its label (-1 where labels are not wanted)."""

_LABEL = struct.Struct('<i')


class Records(SeededItems, BaseDataset):
    """mmengine's data set with entries of a label and a key instead of pickled dicts.

    The layout of ``data_bytes`` and ``data_address`` stays mmengine's, so that wrappers and subsets
    work; an entry of ImageNet takes about 45 bytes. Items carry 'img_path' (the key), 'storage'
    (what reads it) and 'gt_label'. Subclasses set ``storage`` and define ``list_records``.

    Args:
        fraction: Share in (0, 1] of the images of every class to use, at least one each. Of one
            ``subset_seed``, a smaller part is contained in a larger one.
        subset_seed: Seed of that choice.
        **kwargs: Of mmengine's ``BaseDataset``: ``pipeline``, ``indices`` (the first so many
            images, or those at these places), ``test_mode`` (a bad image is an error in any
            case), ``max_refetch`` (other images to try in place of a bad one), ``lazy_init``.
    """

    _fully_initialized: bool
    storage: Storage
    list_records: Callable[[], Iterable[Record]]  # lists the images; may set ``metainfo``

    def __init__(
        self,
        data_root: str,
        with_labels: bool = True,
        fraction: float = 1.0,
        subset_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_fraction(fraction)
        self.with_labels = with_labels
        self.fraction, self.subset_seed = fraction, subset_seed
        super().__init__(data_root=data_root, data_prefix={}, **kwargs)

    def check_records(self) -> None:
        """Check the images as a whole, when they have been listed."""

    def groups(self) -> np.ndarray:
        """Return what ``fraction`` keeps in balance: the labels, int [number of images]."""
        return self.labels()

    def full_init(self) -> None:
        """List the images, check what was listed, and take the part asked for."""
        if self._fully_initialized:
            return
        self.scan()
        self.check_records()
        if isinstance(self.storage, LmdbStorage):
            self.storage.close()  # workers open it for themselves
        if isinstance(self.storage, PackedStorage):
            self.storage.prepare(self.pipeline.transforms)
        self._fully_initialized = True
        if self.fraction < 1:
            total = len(self)
            chosen = balanced_subset(self.groups(), self.fraction, self.subset_seed)
            self.get_subset_(chosen.tolist())
            print_log(
                f'{type(self).__name__} {self.data_root}: {len(self)} of {total} images '
                f'(fraction={self.fraction}, subset_seed={self.subset_seed})',
                logger='current',
            )
        wanted = self._indices
        if wanted is not None:
            if isinstance(wanted, int):
                places = np.arange(len(self))
                wanted = (places[:wanted] if wanted >= 0 else places[wanted:]).tolist()
            self.get_subset_(list(wanted))

    def scan(self) -> None:
        """List the images and store them."""
        self.pack(self.list_records())

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
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of an image, as mmengine's ``ClassBalancedDataset`` asks for it."""
        return [self.entry(idx)[1]]
