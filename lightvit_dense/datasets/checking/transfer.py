"""Check the sets of transfer learning, by their own data sets."""

import os

from ..classification import (
    CIFAR100,
    ClassificationSet,
    FGVCAircraft,
    Flowers102,
    INaturalist2018,
    OxfordPets,
    StanfordCars,
)
from ..errors import DatasetError
from ..transforms.loading import BadImage, decode
from .opening import open_some
from .report import Report, Request

SETS: dict[str, type[ClassificationSet]] = {
    'flowers102': Flowers102,
    'pets': OxfordPets,
    'aircraft': FGVCAircraft,
    'cars': StanfordCars,
    'cifar100': CIFAR100,
    'inat18': INaturalist2018,
}


def check_transfer(name: str, root: str, request: Request) -> Report:
    """Check a set of transfer learning."""
    report, kind = Report(name, root), SETS[name]
    for split in filter(request.wants, ('train', 'test')):
        published = kind.SIZES[split]
        lacking = [p for p in kind.required_files(root, split) if not os.path.exists(p)]
        if lacking:
            report.missing(f'files of {split}', kind.ORIGIN, lacking)
            report.count(f'images of {split}', 0, published)
            continue
        try:
            dataset = kind(root, split, test_mode=True)
        except DatasetError as error:
            report.damaged(str(error).rstrip('.'), kind.ORIGIN)
            report.count(f'images of {split}', 0, published)
            continue
        opened = _open(report, request, dataset, split)
        report.count(f'images of {split}', len(dataset), published, opened)
        report.count(f'classes of {split}', len(dataset.metainfo['classes']), kind.CLASSES)
    return report


def _open(report: Report, request: Request, dataset: ClassificationSet, split: str) -> int:
    def try_one(place: int) -> None:
        key, _ = dataset.entry(place)
        try:
            decode(dataset.storage.read(key))
        except BadImage as error:
            raise BadImage(f'{key}: {error}') from error

    what = f'images of {split}'
    return open_some(report, request, range(len(dataset)), try_one, what, dataset.ORIGIN)
