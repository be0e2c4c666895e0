"""COCO's objects as sequences of one frame."""

import json
import os
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError

from ..registry import DATASETS
from .base import SequenceSet
from .frames import ListedFrames
from .stores import open_store
from .table import Packed, pack_images

_LARGE = 1 << 24  # bytes of annotations that are slow to read


@DATASETS.register_module()
class CocoSequences(SequenceSet):
    """Objects of a detection set in COCO's format, each a sequence of one frame.

    Crowds are left out, and boxes that are not wider and higher than ``min_size`` pixels. STARK and
    OSTrack call objects of at most 50 pixels invisible, but their sampler asks that of videos only:
    they train on all objects. ``source`` and ``cache_dir``: see :class:`VideoSet`.

    Args:
        data_root: Folder with annotations and images, or an LMDB made of it.
        ann_file: Annotations, below ``data_root`` (or a key of the LMDB).
        img_prefix: Folder of the images likewise; 'images/train2017' in LMDBs of OSTrack.
        min_size: 0 leaves out only boxes without an area.
    """

    name: ClassVar[str] = 'COCO'
    ORIGIN: ClassVar[str] = (
        "Unpack COCO's images and annotations below data_root, so that "
        'annotations/instances_train2017.json and train2017/ are there.'
    )

    is_video: ClassVar[bool] = False

    def __init__(
        self,
        data_root: str | os.PathLike,
        ann_file: str = 'annotations/instances_train2017.json',
        img_prefix: str = 'train2017',
        source: str = 'folder',
        min_size: float = 0.0,
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        self.ann_file, self.img_prefix, self.min_size = ann_file, img_prefix, min_size
        super().__init__(data_root, 'all', open_store(str(data_root), source), cache_dir)

    @classmethod
    def required_files(
        cls,
        data_root: str,
        ann_file: str = 'annotations/instances_train2017.json',
        img_prefix: str = 'train2017',
        source: str = 'folder',
        **kwargs: Any,
    ) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        if source == 'lmdb':
            return [data_root]
        return [os.path.join(data_root, path) for path in (ann_file, img_prefix)]

    def _sources(self) -> tuple[list[str], list[str]]:
        return [self.ann_file], []

    def _options(self) -> tuple[str, ...]:
        return self.ann_file, self.img_prefix, str(self.min_size)

    def _is_large(self) -> bool:
        return self.store.stamps([self.ann_file])[0][0] >= _LARGE

    def _build(self) -> Packed:
        where = self.store.where(self.ann_file)
        try:
            content = json.loads(self.store.read(self.ann_file))
            files = {image['id']: str(image['file_name']) for image in content['images']}
            classes = {entry['id']: str(entry['name']) for entry in content['categories']}
            entries = [entry for entry in content['annotations'] if not entry.get('iscrowd', 0)]
        except FileNotFoundError as error:
            raise DatasetError(f'{where} does not exist. {self.ORIGIN}') from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f'{where}: is no file of instances in COCO format ({error!r}). Copy it again.'
            ) from error
        try:
            boxes = np.array([entry['bbox'] for entry in entries], np.float64).reshape(-1, 4)
            places = {number: place for place, number in enumerate(classes)}
            labels = np.array([places[entry['category_id']] for entry in entries], np.int64)
            pictures = [files[entry['image_id']] for entry in entries]
            numbers = [entry['id'] for entry in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f'{where}: an annotation is malformed, its bbox, image_id, category_id or id '
                f'({error!r}). Copy the file again.'
            ) from error
        kept = np.flatnonzero((boxes[:, 2:] > self.min_size).all(1) & np.isfinite(boxes).all(1))
        if not len(kept):
            raise DatasetError(
                f'{where}: has no object of more than {self.min_size:g} x {self.min_size:g} '
                'pixels. Set min_size.'
            )
        names = [f'{os.path.splitext(pictures[k])[0]}_{numbers[k]}' for k in kept.tolist()]
        folders = [f'{self.img_prefix}/{pictures[k]}' for k in kept.tolist()]
        return pack_images(names, folders, boxes[kept], labels[kept], [*classes.values()])

    def open_frames(self, folder: str, length: int) -> ListedFrames:
        """Return the one image."""
        return ListedFrames(self.store, (folder,))
