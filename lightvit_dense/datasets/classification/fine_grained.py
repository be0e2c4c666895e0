"""Fine-grained sets: aircraft, cars, flowers, pets."""

import os
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..records import Record
from ..text import read_lines
from .base import ClassificationSet


def read_mat(path: str, *names: str) -> list[Any]:
    """Read variables of a MATLAB file of version 5, without axes of length one."""
    from scipy.io import loadmat

    try:
        found = loadmat(path, squeeze_me=True, variable_names=names)
    except NotImplementedError as error:  # version 7.3 is HDF5
        raise DatasetError(f'{path}: {error}. Save it as version 7 or older.') from error
    except Exception as error:  # scipy raises errors of a dozen kinds for damaged files
        raise DatasetError(
            f'{path}: is no MATLAB file, or damaged ({type(error).__name__}: {error}). Fetch it '
            'again.'
        ) from error
    absent = [name for name in names if name not in found]
    if absent:
        raise DatasetError(
            f'{path}: has no variable {absent[0]!r}. Take the file as it was published.'
        )
    return [np.atleast_1d(found[name]) for name in names]


def field(path: str, struct: np.ndarray, name: str) -> list[Any]:
    """Return a field of all elements of a structure ([N])."""
    known = struct.dtype.names or ()
    if name not in known:
        raise DatasetError(
            f'{path}: its entries have no field {name!r}, only {", ".join(known) or "none"}. Take '
            'the file as it was published.'
        )
    return [value.item() if isinstance(value, np.generic) else value for value in struct[name]]


def _aircraft_folder(data_root: str) -> str:
    """Return the folder of the data below the root: 'data/', or '' if it is the root itself."""
    inside = os.path.isdir(os.path.join(data_root, 'data'))
    return 'data/' if inside or not os.path.isdir(os.path.join(data_root, 'images')) else ''


@DATASETS.register_module()
class FGVCAircraft(ClassificationSet):
    """FGVC aircraft by variant (Maji et al., 2013).

    ``data/images/0034309.jpg`` and ``data/images_variant_trainval.txt``; ``data_root`` is the
    folder ``fgvc-aircraft-2013b`` or its folder ``data``. Classes are the 100 variants in the order
    of ``variants.txt``. Images keep the line with the photographer's name at their lower edge.

    Args:
        split: 'train' (published as trainval), 'test', or for a choice of hyper-parameters 'fit'
            (published as train) and 'val'.
        **kwargs: As :class:`ClassificationSet`.
    """

    TITLE = 'FGVC aircraft'
    ORIGIN = (
        'The set comes from the site of the Visual Geometry Group, Oxford: unpack '
        'fgvc-aircraft-2013b.tar.gz.'
    )
    CLASSES = 100
    SIZES = dict(train=6667, test=3333, fit=3334, val=3333)
    LISTS = dict(train='trainval', fit='train')

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from."""
        names = ('variants.txt', f'images_variant_{cls.LISTS.get(split, split)}.txt')
        return [os.path.join(data_root, _aircraft_folder(data_root) + name) for name in names]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the lists."""
        classes = list(read_lines(files[0], 'list of variants'))
        label_of = {name: label for label, name in enumerate(classes)}
        folder = _aircraft_folder(os.fspath(self.data_root))
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


_WITH_LABELS = 'cars_test_annos_withlabels.mat'


@DATASETS.register_module()
class StanfordCars(ClassificationSet):
    """Stanford cars (Krause et al., 2013), in either of the layouts they were published in.

    ``cars_annos.mat`` with ``car_ims/000001.jpg``; or ``devkit/cars_meta.mat`` and
    ``devkit/cars_train_annos.mat`` with ``cars_train/00001.jpg``, and
    ``cars_test_annos_withlabels.mat`` (beside or in ``devkit``) with ``cars_test/00001.jpg``.
    Classes are in the order of the published numbers 1..196. Takes the arguments of
    :class:`ClassificationSet`.
    """

    TITLE = 'Stanford cars'
    ORIGIN = (
        'The set was published by the Stanford AI Lab: either car_ims.tgz and cars_annos.mat, or '
        f'cars_train.tgz, cars_test.tgz, car_devkit.tgz and {_WITH_LABELS} (cars_test_annos.mat '
        'has no labels).'
    )
    CLASSES = 196
    SIZES = dict(train=8144, test=8041)

    @classmethod
    def list_files(cls, data_root: str, split: str) -> list[str]:
        """Return the paths of the files that a split is read from."""
        one, kit = os.path.join(data_root, 'cars_annos.mat'), os.path.join(data_root, 'devkit')
        if os.path.exists(one) or not os.path.isdir(kit):
            return [one]
        meta = os.path.join(kit, 'cars_meta.mat')
        if split == 'train':
            return [meta, os.path.join(kit, 'cars_train_annos.mat')]
        beside = os.path.join(data_root, _WITH_LABELS)
        return [meta, beside if os.path.exists(beside) else os.path.join(kit, _WITH_LABELS)]

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the lists."""
        path = files[-1]
        (names,) = read_mat(files[0], 'class_names')
        (entries,) = read_mat(path, 'annotations')
        labels = [int(number) - 1 for number in field(path, entries, 'class')]
        if len(files) == 2:
            keys = [f'cars_{self.split}/{name}' for name in field(path, entries, 'fname')]
        else:
            keys = field(path, entries, 'relative_im_path')
            wanted = [bool(flag) == (self.split == 'test') for flag in field(path, entries, 'test')]
            labels = [label for label, want in zip(labels, wanted, strict=True) if want]
            keys = [key for key, want in zip(keys, wanted, strict=True) if want]
        if not all(isinstance(key, str) for key in keys):
            raise DatasetError(
                f'{path}: names of images are no text. Take the file as it was published.'
            )
        return [str(name) for name in names], list(zip(keys, labels, strict=True))


@DATASETS.register_module()
class Flowers102(ClassificationSet):
    """Oxford 102 flowers (Nilsback and Zisserman, 2008).

    ``jpg/image_00001.jpg``, ``imagelabels.mat`` and ``setid.mat``. Transfer learning trains on the
    published training and validation parts together and tests on the larger test part. Classes are
    in the order of the published numbers 1..102; the files do not name them, the names are
    torchvision's.

    Args:
        split: 'train' (published as trnid and valid), 'test' (tstid), or for a choice of
            hyper-parameters 'fit' (trnid) and 'val' (valid).
        **kwargs: As :class:`ClassificationSet`.
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
    FILES = ('setid.mat', 'imagelabels.mat')

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


@DATASETS.register_module()
class OxfordPets(ClassificationSet):
    """Oxford-IIIT pets (Parkhi et al., 2012).

    ``images/Abyssinian_1.jpg`` and ``annotations/{trainval,test}.txt``. Lines are "name class
    species breed", counted from 1. Classes are the 37 breeds in the order of the published numbers;
    a breed is called by the names of its images. Takes the arguments of :class:`ClassificationSet`;
    'train' is published as trainval.
    """

    TITLE = 'Oxford-IIIT pets'
    ORIGIN = (
        'The set comes from the site of the Visual Geometry Group, Oxford: unpack images.tar.gz '
        'and annotations.tar.gz beside each other.'
    )
    CLASSES = 37
    SIZES = dict(train=3680, test=3669)
    FILES = ('annotations/{}.txt',)
    LISTS = dict(train='trainval')

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
