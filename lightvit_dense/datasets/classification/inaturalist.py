"""iNaturalist 2018 (Van Horn et al., 2018)."""

import os
from typing import Any

from lightvit_dense.registry import DATASETS

from ..errors import DatasetError
from ..records import Record
from ..text import read_json
from .base import ClassificationSet


def _slim(entry: dict) -> Any:
    """Keep of an object of the annotations what is used, as it is read: half a gigabyte less."""
    if 'file_name' in entry:
        return entry.get('id'), entry['file_name']
    if 'category_id' in entry:
        return entry.get('image_id'), entry['category_id']
    return entry


@DATASETS.register_module()
class INaturalist2018(ClassificationSet):
    """iNaturalist 2018: ``train2018.json``, ``val2018.json`` and ``train_val2018/<kingdom>/...``.

    Classes are the categories in the order of their ids. The annotations of 2018 call them by
    numbers; where ``categories.json`` lies beside them, it gives the names of the species.
    Takes the arguments of :class:`ClassificationSet`; the split 'test' is the published validation
    part, on which results are reported.
    """

    TITLE = 'iNaturalist 2018'
    ORIGIN = (
        'The set comes from the iNaturalist competition of 2018 (visipedia/inat_comp on GitHub): '
        'unpack train_val2018.tar.gz and put train2018.json and val2018.json beside it.'
    )
    CLASSES = 8142
    SIZES = dict(train=437513, test=24426)
    FILES = ('{}2018.json',)
    LISTS = dict(test='val')

    def read_split(self, files: list[str]) -> tuple[list[str], list[Record]]:
        """Read the annotations."""
        path = files[0]
        content = read_json(path, _slim)
        try:
            images, shown = content['images'], dict(content['annotations'])
            names = {entry['id']: entry['name'] for entry in content['categories']}
            keys = dict(images)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f'{path}: has no images, annotations and categories as iNaturalist publishes them '
                f'({type(error).__name__}: {error}). Take the file as it was published.'
            ) from error
        del content
        lost = [key for number, key in images if shown.get(number) not in names]
        if lost or len(keys) != len(images):
            raise DatasetError(
                f'{path}: {len(lost)} images have no category of the list, such as {lost[:3]}; '
                f'{len(images) - len(keys)} ids of images come twice. Take the file as it was '
                'published.'
            )
        label_of = {number: label for label, number in enumerate(sorted(names))}
        records = [(key, label_of[shown[number]]) for number, key in images]
        names |= self._species(names)
        return [str(names[number]) for number in label_of], records

    def _species(self, known: dict[int, str]) -> dict[int, str]:
        """Return the names in categories.json, if there is one."""
        path = os.path.join(os.fspath(self.data_root), 'categories.json')
        if not os.path.exists(path):
            return {}
        try:
            return {e['id']: e['name'] for e in read_json(path) if e['id'] in known}
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f'{path}: is no list of categories with id and name. Take the file as it was '
                'published, or remove it; it only gives names.'
            ) from error
