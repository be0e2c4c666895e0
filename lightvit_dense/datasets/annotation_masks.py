"""Checks of masks in COCO's layout, which its C code reads without looking at their bounds."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from mmengine.logging import print_log

from .errors import DatasetError

FAR = 100_000
"""Coordinates beyond so many pixels are refused: at about 4e8, pycocotools crashes."""

_CORRECT = 'Correct it or remove the annotation.'


def check_masks(
    name: str,
    annotations: Iterable[dict[str, Any]],
    images: Mapping[Any, dict[str, Any]],
    refuse_degenerate: bool = True,
) -> None:
    """Check the masks of all annotations; those without 'segmentation' are passed over."""
    degenerate = []
    for entry in annotations:
        mask = entry.get('segmentation')
        if not mask:
            continue
        if isinstance(mask, dict):
            reason = _fault_of_runs(mask, images[entry['image_id']])
        else:
            reason, few = _fault_of_polygons(mask)
            if few:
                degenerate.append(entry['id'])
        if reason:
            raise DatasetError(f'{name}: annotation {entry["id"]}: {reason}. {_CORRECT}')
    if not degenerate:
        return
    text = (
        f'{name}: {len(degenerate)} annotation(s) have a polygon of fewer than three corners (x, y '
        f'pairs), such as annotation {degenerate[0]}'
    )
    if refuse_degenerate:
        raise DatasetError(f'{text}. {_CORRECT}')
    print_log(f'{text}; these polygons are left out.', logger='current', level=30)


def _fault_of_polygons(mask: Any) -> tuple[str, bool]:
    """Return what is wrong with polygons, '' if nothing, and whether one has too few corners."""
    if not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        return 'its segmentation is neither a list of polygons nor run lengths', False
    few = False
    for polygon in mask:
        if len(polygon) < 6 or len(polygon) % 2:
            few = True
        try:
            far = bool(polygon) and not -FAR < min(polygon) <= max(polygon) < FAR
        except TypeError:
            return 'a polygon holds something that is no number', few
        if far:
            return f'a polygon has a corner more than {FAR} pixels away', few
    return '', few


def _fault_of_runs(mask: dict[str, Any], image: Mapping[str, Any]) -> str:
    """Return what is wrong with run lengths, '' if nothing."""
    size = [image['height'], image['width']]
    if mask.get('size') != size:
        return (
            f'its run lengths are of an image of the size {mask.get("size")}, the file lists '
            f'{size} (height, width)'
        )
    counts, total = mask.get('counts'), None
    if isinstance(counts, str):
        total = _compressed_total(counts)
    elif isinstance(counts, list) and all(isinstance(run, int) and run >= 0 for run in counts):
        total = sum(counts)
    if total is None:
        return "the 'counts' of its run lengths are damaged"
    if total != size[0] * size[1]:
        return f'its run lengths cover {total} of {size[0] * size[1]} pixels'
    return ''


def _compressed_total(counts: str) -> int | None:
    """Return how many pixels compressed run lengths cover, None if they are damaged.

    COCO writes a number as groups of five bits, the lowest first, one character a group: 48 plus
    the bits plus 32 if more follow; the highest bit of the last group is the sign. From the fourth
    on, a number is the difference to the run before the last one.
    """
    digits = np.frombuffer(counts.encode('utf-8'), np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return None
    ends = np.flatnonzero(~digits & 32)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 7:  # more than 32 bits
        return None
    place = np.arange(digits.size) - np.repeat(ends - lengths + 1, lengths)
    values = np.add.reduceat((digits & 31) << 5 * place, ends - lengths + 1)
    values -= np.where(digits[ends] & 16, np.int64(1) << 5 * lengths, 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return int(values.sum()) if (values >= 0).all() else None
