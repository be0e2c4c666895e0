"""Pairs of images and label maps, with seeded augmentation and plain answers to broken folders."""

import os
from collections.abc import Sequence
from typing import Any

from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets import BaseSegDataset

from lightvit_dense.datasets.determinism import SeededItems
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.text import read_lines
from lightvit_dense.errors import did_you_mean
from lightvit_dense.registry import DATASETS

from .contents import MAX_DROPPED, LabelMaps
from .object_info import check_class_names

_ROOT_REMEDY = (
    'Set data_root (or the environment variable LIGHTVIT_DATA) to where the data are, and '
    'data_prefix=dict(img_path=..., seg_map_path=...) to the folders below it.'
)


@DATASETS.register_module(force=True)
class SegmentationDataset(SeededItems, BaseSegDataset):
    """mmseg's ``BaseSegDataset``, checked when it is built and deterministic under our samplers.

    Takes mmseg's arguments: ``data_root``, ``data_prefix=dict(img_path=..., seg_map_path=...)``,
    ``metainfo=dict(classes=..., palette=...)``, ``reduce_zero_label``, ``pipeline`` and others.
    Image and label map have one name but for the suffix. Where ``data_prefix`` has no
    ``seg_map_path`` there are images only, for test sets whose truth is not published.

    Every item carries 'num_classes', the number of classes that the label maps may name, for
    :class:`lightvit_dense.datasets.transforms.LoadSegmentationMap` to check.

    Args:
        max_dropped: Greatest share in [0, 1] of the pixels that may be ignored; those of classes
            that are not chosen do not count.

    Raises:
        DatasetError: If a folder does not exist or is empty, an image has no label map or a label
            map no image, no classes are given, or ``metainfo.classes`` names an unknown class.
    """

    def __init__(self, *args: Any, max_dropped: float = MAX_DROPPED, **kwargs: Any) -> None:
        if not 0 <= max_dropped <= 1:
            raise DatasetError(f'max_dropped must lie in [0, 1], got {max_dropped}')
        self.max_dropped = max_dropped
        super().__init__(*args, **kwargs)

    def check_contents(self, alone: bool = True) -> None:
        """Log and check class statistics of a sample; see :meth:`.contents.LabelMaps.survey`."""
        folder = self.data_prefix.get('seg_map_path')
        if not folder:
            return
        items = [self.get_data_info(place) for place in range(len(self))]
        paths = [item['seg_map_path'] for item in items]
        images = [] if self.backend_args else [item['img_path'] for item in items]
        reading = self.reduce_zero_label, self.label_map, self.backend_args
        maps = LabelMaps(folder, paths, self.metainfo['classes'], *reading, images)
        contents = maps.survey(self.max_dropped, alone=alone)
        contents.log(warn=contents.images == len(self))  # files not read may have more classes

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """Return which label becomes which for a choice of the classes, None for all of them."""
        known = cls.METAINFO.get('classes')
        if new_classes is not None and known is not None:
            for name in new_classes:
                if name not in known:
                    raise DatasetError(
                        f'metainfo.classes: {cls.__name__} has no class {name!r}.'
                        f'{did_you_mean(name, known)} Choose from its {len(known)} classes, or '
                        'use lightvit_dense.SegmentationDataset for classes of your own.'
                    )
        return super().get_label_map(new_classes)

    def load_data_list(self) -> list[dict]:
        """List the pairs."""
        classes = self.METAINFO.get('classes') or self.metainfo.get('classes')
        if not classes:
            raise DatasetError(
                f'{type(self).__name__} needs the names of the classes: set '
                'metainfo=dict(classes=(...)), in the order of the ids in the label maps.'
            )
        if not self.data_prefix.get('img_path'):
            raise DatasetError(f'{type(self).__name__}: data_prefix lacks img_path. {_ROOT_REMEDY}')
        if self.backend_args is None:
            self._check_folders()
        listed = self.backend_args is None and os.path.isfile(self.ann_file)
        items = self._read_list() if listed else super().load_data_list()
        if not items:
            raise DatasetError(
                f'{self._where()}: holds no image *{self.img_suffix}. Unpack the data there, or '
                'set img_suffix to how the names of the images end.'
            )
        if self.backend_args is None:
            self._check_pairs(items)
        for item in items:
            item['num_classes'] = len(classes)
        return items

    def _read_list(self) -> list[dict]:
        """List the pairs of a file as the base class does, which takes blank lines for names."""
        shared = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)
        maps, items = self.data_prefix.get('seg_map_path'), []
        for name in read_lines(self.ann_file, 'list of images'):
            image = os.path.join(self.data_prefix['img_path'], name + self.img_suffix)
            item: dict = dict(img_path=image, seg_fields=[], **shared)
            if maps is not None:
                item['seg_map_path'] = os.path.join(maps, name + self.seg_map_suffix)
            items.append(item)
        return items

    def _where(self) -> str:
        """What lists the images, for messages."""
        return self.ann_file or self.data_prefix['img_path']

    def _check_folders(self) -> None:
        for key, kind in (('img_path', 'images'), ('seg_map_path', 'label maps')):
            folder = self.data_prefix.get(key)
            if folder and not os.path.isdir(folder):
                raise DatasetError(
                    f'{folder}: this folder of {kind} does not exist. {_ROOT_REMEDY}'
                )
        if self.ann_file and not os.path.exists(self.ann_file):
            raise DatasetError(
                f'{self.ann_file}: this list of images does not exist. Set ann_file to a text file '
                "with one name a line, without suffix, or to '' for all images of the folder."
            )

    def _check_pairs(self, items: list[dict]) -> None:
        """Check that images and label maps belong together."""
        if self.ann_file:
            images = [item['img_path'] for item in items]
            self._refuse([path for path in images if not os.path.isfile(path)], images, 'listed')
        folder = self.data_prefix.get('seg_map_path')
        if not folder:
            return
        maps = [item['seg_map_path'] for item in items]
        there = {
            os.path.join(parent, name)
            for parent, _, names in os.walk(folder, followlinks=True)
            for name in names
            if name.endswith(self.seg_map_suffix) and not name.startswith('.')
        }
        self._refuse([path for path in maps if path not in there], maps, 'label map of an image')
        if not self.ann_file and len(there) > len(maps):
            alone = sorted(there - set(maps))
            raise DatasetError(
                f'{folder}: {len(alone)} of {len(there)} label maps have no image in '
                f'{self.data_prefix["img_path"]}, such as {alone[0]}. Add the images '
                f'(*{self.img_suffix}), remove the label maps, or list the images to use in a file '
                'that ann_file names.'
            )

    def _refuse(self, lacking: list[str], paths: list[str], kind: str) -> None:
        if lacking:
            raise DatasetError(
                f'{self._where()}: {len(lacking)} of {len(paths)} files are missing ({kind}), such '
                f'as {lacking[0]}. Copy the data set whole, or set img_suffix and seg_map_suffix '
                f'(now {self.img_suffix!r} and {self.seg_map_suffix!r}) to how its names end.'
            )


@DATASETS.register_module(force=True)
class ADE20KDataset(SegmentationDataset, MMSegADE20KDataset):
    """ADE20K's scene parsing benchmark (Zhou et al., 2017), the folder ``ADEChallengeData2016``.

    It has 20210 training and 2000 validation images. Takes mmseg's arguments and keeps its 150
    classes, palette and ``reduce_zero_label=True``. Ids in the label maps are 1..150, and 0 (other)
    is ignored. A choice of the classes may be given by ``metainfo=dict(classes=...)``; the other
    ones are then ignored too.

    Raises:
        DatasetError: As :class:`SegmentationDataset`, and if ``objectInfo150.txt`` in ``data_root``
            numbers the classes in another way.
    """

    def load_data_list(self) -> list[dict]:
        """List the pairs, after a look at the file that names the classes."""
        path = os.path.join(self.data_root or '', 'objectInfo150.txt')
        if self.data_root and self.backend_args is None and os.path.isfile(path):
            check_class_names(path, self.METAINFO['classes'], type(self).__name__)
        return super().load_data_list()
