"""Oxford 102 flowers (Nilsback and Zisserman, 2008)."""

import os
from typing import ClassVar

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..records import Record
from .base import ClassificationSet
from .matlab import read_mat


@DATASETS.register_module()
class Flowers102(ClassificationSet):
    """Oxford 102 flowers: ``jpg/image_00001.jpg``, ``imagelabels.mat`` and ``setid.mat``.

    Transfer learning trains on the published training and validation parts together and tests on
    the larger test part. Classes are in the order of the published numbers 1..102; the files do not
    name them, the names are torchvision's.

    Args:
        split: 'train' (published as trnid and valid), 'test' (tstid), or for a choice of
            hyper-parameters 'fit' (trnid) and 'val' (valid).

    The other arguments are those of :class:`ClassificationSet`.
    """

    TITLE = 'Oxford 102 flowers'
    ORIGIN = (
        'The set comes from the site of the Visual Geometry Group, Oxford: unpack 102flowers.tgz '
        '(the folder jpg) and put imagelabels.mat and setid.mat beside it.'
    )
    CLASSES = 102
    SIZES = dict(train=2040, test=6149, fit=1020, val=1020)
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = dict(
        train=('trnid', 'valid'), test=('tstid',), fit=('trnid',), val=('valid',)
    )

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from."""
        return [os.path.join(data_root, name) for name in ('setid.mat', 'imagelabels.mat')]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the lists."""
        from torchvision.datasets import Flowers102 as Named  # takes seconds to import

        (labels,) = read_mat(files[1], 'labels')
        numbers = [n for part in read_mat(files[0], *self.PARTS[self.split]) for n in part.tolist()]
        wrong = [n for n in numbers if not 1 <= n <= len(labels)]
        if wrong:
            raise DatasetError(
                f'{files[0]}: names image {wrong[0]}, {files[1]} has labels of 1..{len(labels)}. '
                'Both must be of the same set.'
            )
        # Images and classes are counted from 1.
        records = [(f'jpg/image_{n:05d}.jpg', int(labels[n - 1]) - 1) for n in numbers]
        return list(Named.classes), records
