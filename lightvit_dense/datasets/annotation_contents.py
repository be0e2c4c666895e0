"""Class statistics of an annotation file in COCO's layout."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .annotation_boxes import proper_polygons
from .contents import Contents

MAX_DROPPED = 0.5
"""Default share of the objects that may be dropped."""

REMEDY = (
    'Check bbox ([left, top, width, height] in pixels), area (pixels, above 0) and iscrowd (0 for '
    'objects), or set max_dropped of the data set.'
)


def count_objects(
    name: str,
    content: dict[str, Any],
    classes: Sequence[str],
    masks: bool = False,
    min_size: int = 0,
) -> Contents:
    """Count the objects of ``classes`` that training uses, by the rules of mmdet's ``CocoDataset``.

    ``content`` is that of :func:`lightvit_dense.datasets.annotations.read_annotations`, of a file
    that messages call ``name``. With ``masks`` objects without a polygon of three corners are
    ignored; images with a side below ``min_size`` are left out.
    """
    labels = {
        entry['id']: classes.index(entry['name'])
        for entry in content['categories']
        if entry['name'] in classes
    }
    sides = {entry['id']: (entry['width'], entry['height']) for entry in content['images']}
    notes = content['annotations']
    label = np.array([labels.get(note['category_id'], -1) for note in notes], int)
    image = np.array([note['image_id'] for note in notes], np.int64)
    limits = np.array([sides[note['image_id']] for note in notes], float).reshape(-1, 2)
    boxes = np.array([note['bbox'] for note in notes], float).reshape(-1, 4)
    start, size = boxes[:, :2], boxes[:, 2:]
    inside = np.minimum(start + size, limits) - np.maximum(start, 0)
    left = label >= 0
    dropped = {}
    for reason, which in {
        "marked 'ignore'": [bool(note.get('ignore')) for note in notes],
        'of area 0 or less': [note['area'] <= 0 for note in notes],
        'of a box below a pixel': (size < 1).any(axis=1),
        'outside of the image': (inside <= 0).any(axis=1),
        'marked as crowds': [bool(note.get('iscrowd')) for note in notes],
        'without a polygon of three corners': [
            masks
            and isinstance(mask := note.get('segmentation'), list)
            and mask != []
            and not proper_polygons(note)
            for note in notes
        ],
        f'in images of a side below min_size={min_size}': (limits < min_size).any(axis=1),
    }.items():
        faulty = left & np.array(which, bool)
        dropped[reason] = int(faulty.sum())
        left &= ~faulty
    amounts = np.bincount(label[left], minlength=len(classes))
    places = np.unique(image, return_inverse=True)[1]
    pairs = np.unique(places[left] * len(classes) + label[left])
    occurrences = np.bincount(pairs % len(classes), minlength=len(classes))
    rows = [(n, int(i), int(a)) for n, i, a in zip(classes, occurrences, amounts, strict=True)]
    used = sum(min(side) >= min_size for side in sides.values())
    other = int((label < 0).sum())
    return Contents(name, 'objects', used, rows, dropped, {'of other categories': other})
