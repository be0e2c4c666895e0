"""Stanford cars (Krause et al., 2013)."""

import os

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..records import Record
from .base import ClassificationSet
from .matlab import field, read_mat

_ONE_FILE = 'cars_annos.mat'
_WITH_LABELS = 'cars_test_annos_withlabels.mat'


@DATASETS.register_module()
class StanfordCars(ClassificationSet):
    """Stanford cars, in either of the layouts they were published in.

    ``cars_annos.mat`` with ``car_ims/000001.jpg``; or ``devkit/cars_meta.mat`` and
    ``devkit/cars_train_annos.mat`` with ``cars_train/00001.jpg``, and
    ``cars_test_annos_withlabels.mat`` (beside or in ``devkit``) with ``cars_test/00001.jpg``.
    Classes are in the order of the published numbers 1..196.

    Args:
        split: 'train' or 'test'.

    The other arguments are those of :class:`ClassificationSet`.
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
        one, kit = os.path.join(data_root, _ONE_FILE), os.path.join(data_root, 'devkit')
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
