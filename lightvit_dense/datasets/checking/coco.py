"""Check COCO 2017."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as rle

from ..annotations import read_annotations
from ..errors import DatasetError
from ..storage import read_file
from ..transforms.loading import BadImage
from .report import Report, Request, open_image, open_some

IMAGES = {'train': 118287, 'val': 5000}
"""Published numbers of images."""
ANNOTATIONS = {'train': 860001, 'val': 36781}
"""Published numbers of annotations, crowds included."""
CATEGORIES = 80
ORIGIN = (
    "Unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of COCO's site in this "
    'folder.'
)


def check_coco(
    root: str,
    request: Request,
    origin: str = ORIGIN,
    images: Mapping[str, int] = IMAGES,
    annotations: Mapping[str, int] = ANNOTATIONS,
    categories: int = CATEGORIES,
) -> Report:
    """Check the folders and annotation files of COCO's layout."""
    report = Report('coco', root)
    for split in filter(request.wants, images):
        content = _annotations(report, root, split, origin)
        folder = os.path.join(root, f'{split}2017')
        files = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        listed = content['images'] if content else []
        there = [entry for entry in listed if entry['file_name'] in files]
        notes = content['annotations'] if content else []
        by_image: dict[Any, list[dict]] = {}
        for note in notes:
            by_image.setdefault(note['image_id'], []).append(note)
        try_one = partial(_open_entry, folder, by_image)
        opened = open_some(report, request, there, try_one, f'images of {split}2017', origin)
        found = len(there) if content else len(files)
        report.count(f'images of {split}2017', found, images[split], opened)
        _compare(report, folder, listed, files, origin)
        if content:
            report.count(f'annotations of {split}2017', len(notes), annotations[split])
            report.count(f'categories of {split}2017', len(content['categories']), categories)
            _left_out(report, split, content)
    return report


def _annotations(report: Report, root: str, split: str, origin: str) -> dict[str, Any] | None:
    path = os.path.join(root, 'annotations', f'instances_{split}2017.json')
    if not os.path.isfile(path):
        report.missing(path, origin)
        return None
    try:
        # As the data set (training) and the metric (validation) read it.
        return read_annotations(path, refuse_degenerate=split != 'train')
    except DatasetError as error:
        report.damaged(str(error).rstrip('.'), origin)
        return None


def _compare(report: Report, folder: str, listed: list, files: set[str], origin: str) -> None:
    """Report what is listed and not there, and the reverse."""
    if not files:
        report.missing(f'{folder}: no image', origin)
        return
    names = [entry['file_name'] for entry in listed]
    lacking = [name for name in names if name not in files]
    if lacking:
        report.missing(
            f'{folder}: {len(lacking)} of {len(names)} images that the annotations list',
            f'{origin} For a part of the data, cut the annotation file to it.',
            lacking,
        )
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
        _decode_mask(note, *size)


def _decode_mask(note: dict, height: int, width: int) -> None:
    mask = note.get('segmentation')
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not mask:
        return
    code = mask
    if isinstance(mask, list) or isinstance(mask['counts'], list):
        code = rle.frPyObjects(mask, height, width)
        code = rle.merge(code) if isinstance(mask, list) else code
    try:
        rle.decode(code)
    except ValueError as error:
        raise BadImage(f'annotation {note["id"]}: its mask cannot be decoded ({error})') from error


def _left_out(report: Report, split: str, content: dict[str, Any]) -> None:
    """Note what training leaves out."""
    notes = content['annotations']
    sizes = {entry['id']: (entry['width'], entry['height']) for entry in content['images']}
    boxes = np.array([note['bbox'] for note in notes], float).reshape(-1, 4)
    limits = np.array([sizes[note['image_id']] for note in notes], float).reshape(-1, 2)
    start, size = boxes[:, :2], boxes[:, 2:]
    inside = np.minimum(start + size, limits) - np.maximum(start, 0)
    empty = int(((inside <= 0).any(axis=1) | (size < 1).any(axis=1)).sum())
    crowds = sum(bool(note.get('iscrowd')) for note in notes)
    bare = len(sizes) - len({note['image_id'] for note in notes})
    parts = [
        (crowds, 'crowds, which are ignored'),
        (empty, 'boxes of less than a pixel or outside of their image, which are left out'),
    ]
    told = [f'{number} {text}' for number, text in parts if number]
    if bare:
        told.append(f'{bare} images without annotations')
    if told:
        report.note(f'{split}2017 has {"; ".join(told)}')
