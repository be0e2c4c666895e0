"""Check the sets of transfer learning, by their own data sets."""

import os

from .. import classification
from ..errors import DatasetError
from .report import Report, Request, open_image

SETS: dict[str, type[classification.ClassificationSet]] = {
    'flowers102': classification.Flowers102,
    'pets': classification.OxfordPets,
    'aircraft': classification.FGVCAircraft,
    'cars': classification.StanfordCars,
    'cifar100': classification.CIFAR100,
    'inat18': classification.INaturalist2018,
}


def check_transfer(name: str, root: str, request: Request) -> Report:
    """Check a set of transfer learning, one of ``SETS``."""
    kind = SETS[name]
    report = Report(name, root, request, kind.ORIGIN)
    for split in filter(request.wants, ('train', 'test')):
        what, published = f'images of {split}', kind.SIZES[split]
        lacking = [p for p in kind.required_files(root, split) if not os.path.exists(p)]
        if lacking:
            report.missing(f'files of {split}', lacking)
            report.count(what, 0, published)
            continue
        try:
            dataset = kind(root, split, test_mode=True)
        except DatasetError as error:
            report.damaged(str(error).rstrip('.'))
            report.count(what, 0, published)
            continue

        def try_one(place: int, dataset: classification.ClassificationSet = dataset) -> None:
            open_image(dataset.storage.read, dataset.entry(place)[0])

        opened = report.open_some(range(len(dataset)), try_one, what)
        report.count(what, len(dataset), published, opened)
        report.count(f'classes of {split}', len(dataset.metainfo['classes']), kind.CLASSES)
    return report
