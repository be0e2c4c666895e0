"""Check that boxes are [left, top, width, height] in pixels, by masks and image borders."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from pycocotools import mask as rle

from .errors import DatasetError

SAMPLE = 10_000
"""Most boxes that are compared, evenly spaced."""

_EXPECTED = 'bbox is [left, top, width, height] in pixels of the image as the file lists it.'
_FORMATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'two corners (x1, y1, x2, y2)': lambda b: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]),
    'a centre and a size (cx, cy, width, height)': (
        lambda b: np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, 2:]])
    ),
    'the vertical before the horizontal (top, left, height, width)': lambda b: b[:, [1, 0, 3, 2]],
}
"""Other formats of boxes, each with its conversion [N, 4]."""


def check_boxes(
    name: str, annotations: Sequence[dict[str, Any]], images: Mapping[Any, dict[str, Any]]
) -> None:
    """Compare boxes with their masks and with the borders of their images.

    Raises:
        DatasetError: If most boxes are fractions, do not fit their masks, or exceed their images;
            it names the format that they seem to have.
    """
    sample = annotations[:: -(-len(annotations) // SAMPLE) or 1]
    notes = [note for note in sample if min(note['bbox'][2:]) > 0]  # others are left out anyway
    if not notes:
        return
    boxes = np.array([note['bbox'] for note in notes], float)
    owners = [images[note['image_id']] for note in notes]
    sides = np.array([(owner['width'], owner['height']) for owner in owners], float)

    def fault(what: str, at: int, look: str = '') -> DatasetError:
        look = f' They look like {look}.' if look else ''
        return DatasetError(
            f'{name}: {what}; annotation {notes[at]["id"]} has the bbox {notes[at]["bbox"]} in '
            f'{owners[at]["file_name"]} of {sides[at, 0]:.0f} x {sides[at, 1]:.0f} pixels.{look} '
            f'{_EXPECTED}'
        )

    fractions = (boxes.max(axis=1) <= 1) & (boxes % 1 > 0).any(axis=1)
    if fractions.mean() > 0.5:
        raise fault('boxes are fractions', int(np.argmax(fractions)), 'parts of the sides (0..1)')
    chosen = [
        at
        for at, note in enumerate(notes)
        if not note.get('iscrowd')
        and (isinstance(note.get('segmentation'), dict) or proper_polygons(note))
    ]
    if chosen:
        masks = np.array([_box_of_mask(notes[at], owners[at]) for at in chosen])
        if len(bad := np.flatnonzero(_overlap(boxes[chosen], masks) < 0.5)):
            some, around = boxes[chosen][bad], masks[bad]
            looks = [
                n for n, read in _FORMATS.items() if np.median(_overlap(read(some), around)) > 0.8
            ]
            what = f'{len(bad)} of {len(chosen)} boxes do not fit their own masks'
            error = fault(what, chosen[bad[0]], ' or '.join(looks))
            _raise_or_warn(error, len(bad) > len(chosen) * (0.1 if looks else 0.5))
    out = _exceed(boxes, sides)
    if not out.any():
        return
    looks = []
    for text, read in () if chosen or out.mean() < 0.1 else list(_FORMATS.items())[:2]:
        possible = (read(boxes)[:, 2:] > 0).all(axis=1) & ~_exceed(read(boxes), sides)
        looks += [text] if possible.mean() > 0.95 else []
    what = f'{out.sum()} of {len(out)} boxes exceed their images'
    error = fault(what, int(np.argmax(out)), ' or '.join(looks))
    _raise_or_warn(error, bool(looks) or out.mean() > 0.5)


def _raise_or_warn(error: DatasetError, serious: bool) -> None:
    if serious:
        raise error
    print_log(str(error), logger='current', level=30)


def _exceed(boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Whether boxes [N, 4] exceed their images by more than 2 pixels and 2% of a side."""
    far = np.maximum(2, sides / 50)
    return ((boxes[:, :2] < -far) | (boxes[:, :2] + boxes[:, 2:] > sides + far)).any(axis=1)


def proper_polygons(note: Mapping[str, Any]) -> list[list[float]]:
    """Return the polygons of an object that have three corners."""
    mask = note.get('segmentation')
    proper = (p for p in mask if len(p) >= 6 and len(p) % 2 == 0) if isinstance(mask, list) else ()
    return list(proper)


def encode_mask(note: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the mask of an object as compressed run lengths; None if it has none."""
    mask = note.get('segmentation')
    if isinstance(mask, dict) and not isinstance(mask['counts'], list):
        return mask
    shapes = mask if isinstance(mask, dict) else proper_polygons(note)
    if not shapes:
        return None
    code = rle.frPyObjects(shapes, image['height'], image['width'])
    return rle.merge(code) if isinstance(code, list) else code


def _box_of_mask(note: Mapping[str, Any], image: Mapping[str, Any]) -> np.ndarray:
    """Return the box (left, top, width, height) of a mask; polygons may reach out of the image."""
    polygons = proper_polygons(note)
    if not polygons:
        return rle.toBbox(encode_mask(note, image))
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    return np.hstack([points.min(axis=0), np.ptp(points, axis=0)])


def _overlap(boxes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU [N] of boxes [N, 4], made a pixel wider on each side; 1 where the mask has no size."""
    starts = [b[:, :2] - 1 for b in (boxes, masks)]
    ends = [b[:, :2] + b[:, 2:] + 1 for b in (boxes, masks)]
    areas = [np.clip(e - s, 0, None).prod(axis=1) for s, e in zip(starts, ends, strict=True)]
    inner = np.clip(np.minimum(*ends) - np.maximum(*starts), 0, None).prod(axis=1)
    return np.where((masks[:, 2:] > 0).all(axis=1), inner / (sum(areas) - inner), 1)
