"""Check COCO 2017."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from pycocotools import mask as rle

from ..annotation_boxes import encode_mask
from ..annotation_contents import MAX_DROPPED, REMEDY, count_objects
from ..annotations import read_annotations
from ..contents import name_absent
from ..errors import DatasetError
from ..storage import read_file
from ..transforms.loading import BadImage
from .report import Report, Request, open_image

IMAGES = {'train': 118287, 'val': 5000}
"""Published numbers of images."""
ANNOTATIONS = {'train': 860001, 'val': 36781}
"""Published numbers of annotations, crowds included."""
CATEGORIES = 80
ORIGIN = (
    "Unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of COCO's site in this "
    'folder.'
)


def check_coco(root: str, request: Request) -> Report:
    """Check the folders and annotation files of COCO's layout."""
    report = Report('coco', root, request, ORIGIN)
    for split in filter(request.wants, IMAGES):
        content = _annotations(report, split)
        folder = os.path.join(root, f'{split}2017')
        files = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        listed = content['images'] if content else []
        there = [entry for entry in listed if entry['file_name'] in files]
        notes = content['annotations'] if content else []
        by_image: dict[Any, list[dict]] = {}
        for note in notes:
            by_image.setdefault(note['image_id'], []).append(note)
        try_one = partial(_open_entry, folder, by_image)
        opened = report.open_some(there, try_one, f'images of {split}2017')
        found = len(there) if content else len(files)
        report.count(f'images of {split}2017', found, IMAGES[split], opened)
        _compare(report, folder, listed, files)
        if content:
            report.count(f'annotations of {split}2017', len(notes), ANNOTATIONS[split])
            report.count(f'categories of {split}2017', len(content['categories']), CATEGORIES)
            _compare_objects(report, split, content)
    return report


def _annotations(report: Report, split: str) -> dict[str, Any] | None:
    path = os.path.join(report.root, 'annotations', f'instances_{split}2017.json')
    if not os.path.isfile(path):
        report.missing(path)
        return None
    try:
        # As the data set (training) and the metric (validation) read it.
        return read_annotations(path, refuse_degenerate=split != 'train')
    except DatasetError as error:
        report.damaged(str(error).rstrip('.'))
        return None


def _compare(report: Report, folder: str, listed: list, files: set[str]) -> None:
    """Report what is listed and not there, and the reverse."""
    if not files:
        report.missing(f'{folder}: no image')
        return
    names = [entry['file_name'] for entry in listed]
    lacking = [name for name in names if name not in files]
    if lacking:
        what = f'{folder}: {len(lacking)} of {len(names)} images that the annotations list'
        advice = f'{report.remedy} For a part of the data, cut the annotation file to it.'
        report.missing(what, lacking, advice)
    extra = len(files) - (len(names) - len(lacking))
    if listed and extra:
        report.note(f'{folder}: {extra} files that the annotations do not list are not used')


def _open_entry(folder: str, notes: Mapping[Any, list[dict]], entry: dict) -> None:
    """Open an image and the masks of its annotations, and compare the sizes."""
    path = os.path.join(folder, entry['file_name'])
    size, listed = open_image(read_file, path).shape[:2], (entry['height'], entry['width'])
    if size != listed:
        raise BadImage(f'{path}: has the size {size}, its annotations are for {listed}')
    for note in notes.get(entry['id'], ()):
        if code := encode_mask(note, entry):
            try:
                rle.decode(code)
            except ValueError as error:
                what = f'annotation {note["id"]}: its mask cannot be decoded ({error})'
                raise BadImage(what) from error


def _compare_objects(report: Report, split: str, content: dict[str, Any]) -> None:
    """Note what training leaves out, and report what it would refuse."""
    classes = [entry['name'] for entry in content['categories']]
    contents = count_objects(f'{split}2017', content, classes, masks=True)
    try:
        contents.check(MAX_DROPPED)
    except DatasetError as error:
        report.damaged(str(error).rstrip('.'), remedy=REMEDY)
    told = [f'{number} objects {reason}' for reason, number in contents.dropped.items() if number]
    bare = len(content['images']) - len({note['image_id'] for note in content['annotations']})
    if bare:
        told.append(f'{bare} images without annotations')
    if told:
        report.note(f'{split}2017 has {"; ".join(told)}')
    if contents.total and contents.absent:
        report.note(name_absent(f'{split}2017', contents.absent, len(classes)).rstrip('.'))
