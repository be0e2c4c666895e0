"""Oxford-IIIT pets (Parkhi et al., 2012)."""

import os
from typing import ClassVar

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..imagenet_index import read_lines
from ..records import Record
from .base import ClassificationSet


@DATASETS.register_module()
class OxfordPets(ClassificationSet):
    """Oxford-IIIT pets: ``images/Abyssinian_1.jpg`` and ``annotations/{trainval,test}.txt``.

    Lines are "name class species breed", counted from 1. Classes are the 37 breeds in the order of
    the published numbers; a breed is called by the names of its images.

    Args:
        split: 'train' (published as trainval) or 'test'.

    The other arguments are those of :class:`ClassificationSet`.
    """

    TITLE = 'Oxford-IIIT pets'
    ORIGIN = (
        'The set comes from the site of the Visual Geometry Group, Oxford: unpack images.tar.gz '
        'and annotations.tar.gz beside each other.'
    )
    CLASSES = 37
    SIZES = dict(train=3680, test=3669)
    LISTS: ClassVar[dict[str, str]] = dict(train='trainval.txt', test='test.txt')

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from."""
        return [os.path.join(data_root, 'annotations', cls.LISTS[split])]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the list."""
        names: dict[int, str] = {}
        records: list[Record] = []
        for line in read_lines(files[0], 'list of images'):
            words = line.split()
            if len(words) != 4 or not words[1].isdecimal():
                raise DatasetError(
                    f'{files[0]}: {line!r} is not "name class species breed". Take the file as it '
                    'was published.'
                )
            name, label = words[0], int(words[1]) - 1
            breed = name.rpartition('_')[0].replace('_', ' ')
            if names.setdefault(label, breed) != breed:
                raise DatasetError(
                    f'{files[0]}: class {label + 1} is {names[label]!r} and also {breed!r}. Take '
                    'the file as it was published.'
                )
            records.append((f'images/{name}.jpg', label))
        # A part of the list may lack breeds; the others keep their numbers.
        return [names.get(n, f'breed {n + 1}') for n in range(self.CLASSES)], records
