"""FGVC aircraft (Maji et al., 2013)."""

import os
from typing import ClassVar

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..imagenet_index import read_lines
from ..records import Record
from .base import ClassificationSet


def _folder(data_root: str) -> str:
    """Return the folder of the data below the root: 'data/', or '' if it is the root itself."""
    inside = os.path.isdir(os.path.join(data_root, 'data'))
    return 'data/' if inside or not os.path.isdir(os.path.join(data_root, 'images')) else ''


@DATASETS.register_module()
class FGVCAircraft(ClassificationSet):
    """FGVC aircraft by variant: ``data/images/0034309.jpg``, ``data/images_variant_trainval.txt``.

    ``data_root`` is the folder ``fgvc-aircraft-2013b`` or its folder ``data``. Classes are the 100
    variants in the order of ``variants.txt``. Images keep the line with the photographer's name at
    their lower edge.

    Args:
        split: 'train' (published as trainval), 'test', or for a choice of hyper-parameters 'fit'
            (published as train) and 'val'.

    The other arguments are those of :class:`ClassificationSet`.
    """

    TITLE = 'FGVC aircraft'
    ORIGIN = (
        'The set comes from the site of the Visual Geometry Group, Oxford: unpack '
        'fgvc-aircraft-2013b.tar.gz.'
    )
    CLASSES = 100
    SIZES = dict(train=6667, test=3333, fit=3334, val=3333)
    LISTS: ClassVar[dict[str, str]] = dict(train='trainval', test='test', fit='train', val='val')

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from."""
        names = ('variants.txt', f'images_variant_{cls.LISTS[split]}.txt')
        return [os.path.join(data_root, _folder(data_root) + name) for name in names]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the lists."""
        classes = list(read_lines(files[0], 'list of variants'))
        label_of = {name: label for label, name in enumerate(classes)}
        folder = _folder(os.fspath(self.data_root))
        records: list[Record] = []
        for line in read_lines(files[1], 'list of images'):
            number, _, variant = line.partition(' ')  # variants have blanks, as in 'DC-9-30 B'
            if variant not in label_of:
                raise DatasetError(
                    f'{files[1]}: {line!r} names the variant {variant!r}, which {files[0]} does '
                    'not. Take both files as they were published.'
                )
            records.append((f'{folder}images/{number}.jpg', label_of[variant]))
        return classes, records
