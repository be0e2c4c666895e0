"""Check ADE20K's scene parsing benchmark."""

import os
from functools import partial

from ..errors import DatasetError
from ..segmentation.contents import SAMPLE, LabelMaps
from ..segmentation.object_info import check_class_names
from ..storage import read_file
from ..transforms.loading import BadImage
from ..transforms.segmentation import check_ids, read_label_map
from .report import Report, Request, open_image

IMAGES = {'train': 20210, 'val': 2000}
"""Published numbers of images."""
CLASSES = 150
ORIGIN = "Unpack ADEChallengeData2016.zip of ADE20K's site and let this folder be what is in it."
_FOLDERS = {'train': 'training', 'val': 'validation'}


def check_ade20k(root: str, request: Request) -> Report:
    """Check the folders of ADE20K's layout."""
    report = Report('ade20k', root, request, ORIGIN)
    for split in filter(request.wants, IMAGES):
        part = _FOLDERS[split]
        photos = _names(root, 'images', part, '.jpg')
        maps = _names(root, 'annotations', part, '.png')
        pairs = sorted(photos & maps)
        try_one = partial(_open_pair, root, part)
        opened = report.open_some(pairs, try_one, f'pairs of {part}')
        if pairs and report.ok:
            _survey(report, os.path.join(root, 'annotations', part), pairs)
        report.count(f'images of {part}', len(photos), IMAGES[split], opened)
        report.count(f'label maps of {part}', len(maps), IMAGES[split], opened)
        for kind, found, others in (('images', photos, maps), ('annotations', maps, photos)):
            folder = os.path.join(root, kind, part)
            if not found:
                report.missing(f'{folder}: no file')
            elif others - found:
                lacking = sorted(others - found)
                report.missing(f'{folder}: {len(lacking)} of {len(others)} files', lacking)
    _check_table(report, os.path.join(root, 'objectInfo150.txt'))
    return report


def _open_pair(root: str, part: str, name: str) -> None:
    """Open an image and its label map, and compare their sizes and the ids."""
    image = open_image(read_file, os.path.join(root, 'images', part, f'{name}.jpg'))
    path = os.path.join(root, 'annotations', part, f'{name}.png')
    labels = read_label_map(path)
    if labels.shape != image.shape[:2]:
        raise BadImage(f'{path}: has the size {labels.shape}, its image {image.shape[:2]}')
    check_ids(path, labels, CLASSES, True)


def _survey(report: Report, folder: str, names: list[str]) -> None:
    """Count what there is to learn, as training does."""
    from mmseg.utils.class_names import ade_classes  # takes seconds to import

    paths = [os.path.join(folder, f'{name}.png') for name in names]
    try:
        maps = LabelMaps(folder, paths, ade_classes(), True)
        contents = maps.survey(limit=None if report.request.full else SAMPLE)
    except DatasetError as error:
        report.damaged(str(error).rstrip('.'))
    else:
        seen = CLASSES - len(contents.absent)
        report.note(f'{contents.name}: {contents.total} pixels of {seen} classes')


def _names(root: str, kind: str, part: str, suffix: str) -> set[str]:
    """Return the names of the files without their suffix."""
    folder = os.path.join(root, kind, part)
    files = os.listdir(folder) if os.path.isdir(folder) else []
    return {name[: -len(suffix)] for name in files if name.endswith(suffix)}


def _check_table(report: Report, path: str) -> None:
    if not os.path.isfile(path):
        report.note(f'{path} is not there; without it the order of the classes is not checked')
        return
    from mmseg.utils.class_names import ade_classes  # takes seconds to import

    try:
        check_class_names(path, ade_classes(), 'ADE20K')
    except DatasetError as error:
        report.damaged(str(error).rstrip('.'))
