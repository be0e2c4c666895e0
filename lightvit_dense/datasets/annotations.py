"""Reading annotation files in COCO's layout, and refusing what would go wrong later."""

import json
import math
import os
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from mmengine.fileio import get_local_path

from lightvit_dense.utils.io import read_text

from .annotation_masks import check_masks
from .errors import DatasetError

_REMEDY = 'Check that the path points at an instances_*.json file and that it was copied whole.'
_IMAGE_KEYS = ('id', 'file_name', 'width', 'height')
_ANNOTATION_KEYS = ('id', 'image_id', 'category_id', 'bbox', 'area')


def _parse(path: str, name: str) -> dict[str, Any]:
    """Parse the file; ``name`` is what messages call it."""
    if not os.path.isfile(path):
        raise DatasetError(
            f'{name}: this annotation file does not exist. Set data_root (or the environment '
            'variable LIGHTVIT_DATA) to where the data are.'
        )
    infinite: list[str] = []

    def note(word: str) -> float:
        infinite.append(word)
        return float(word)

    try:
        content = json.loads(read_text(path), parse_constant=note)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f'{name}: is not JSON ({error}). {_REMEDY}') from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise DatasetError(f'{name}: holds a {kind} where a dict is due. {_REMEDY}')
    if infinite:
        _name_infinite(name, content)
    return content


def _name_infinite(name: str, content: dict[str, Any]) -> None:
    """Raise an error that names the entry with a number that is not finite, if it is an entry."""
    for kind in ('images', 'annotations'):
        entries = content.get(kind)
        for place, entry in enumerate(entries if isinstance(entries, list) else ()):
            try:
                json.dumps(entry, allow_nan=False)
            except ValueError as error:
                raise DatasetError(
                    f'{name}: {kind}[{place}] (id {_id_of(entry)}) holds NaN or Infinity. Correct '
                    'or remove it.'
                ) from error


def _id_of(entry: Any) -> Any:
    return entry.get('id', '?') if isinstance(entry, dict) else '?'


def _check_entries(name: str, kind: str, entries: Any, keys: Sequence[str]) -> set[Any]:
    """Check that entries are dicts with these keys and unique ids; return the ids."""
    if not isinstance(entries, list):
        raise DatasetError(f"{name}: '{kind}' is not a list. {_REMEDY}")
    for place, entry in enumerate(entries):
        lacking = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if lacking:
            raise DatasetError(
                f"{name}: {kind}[{place}] (id {_id_of(entry)}) lacks '{lacking[0]}'. "
                'Add it to the file.'
            )
    counts = Counter(entry['id'] for entry in entries)
    if len(counts) != len(entries):
        double = next(number for number, times in counts.items() if times > 1)
        raise DatasetError(
            f"{name}: '{kind}' has the id {double} {counts[double]} times. Renumber them from 1."
        )
    return set(counts)


def _check_references(
    name: str, annotations: Sequence[dict], images: Collection, categories: Collection
) -> None:
    for entry in annotations:
        number = entry['id']
        if number == 0:
            raise DatasetError(
                f'{name}: an annotation has the id 0, which COCO evaluation takes for "no match". '
                'Renumber the annotations from 1.'
            )
        if entry['image_id'] not in images:
            raise DatasetError(
                f'{name}: annotation {number} belongs to image {entry["image_id"]}, which is not '
                "among 'images'. Add the image or remove the annotation."
            )
        if entry['category_id'] not in categories:
            raise DatasetError(
                f'{name}: annotation {number} has the category {entry["category_id"]}, which is '
                "not among 'categories'. Add the category or remove the annotation."
            )
        box = entry['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise DatasetError(
                f'{name}: annotation {number} has the bbox {box!r}. Write it as '
                '[left, top, width, height] in pixels.'
            )
        if not _is_number(entry['area']):
            raise DatasetError(
                f'{name}: annotation {number} has the area {entry["area"]!r}. Write the number of '
                'pixels of its mask, or of its box where it has none.'
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def read_annotations(
    path: str,
    need_annotations: bool = True,
    backend_args: dict | None = None,
    refuse_degenerate: bool = True,
) -> dict[str, Any]:
    """Read an annotation file in COCO's layout and check it."""
    if backend_args is None:
        content = _parse(path, path)
    else:
        with get_local_path(path, backend_args=backend_args) as local:
            content = _parse(local, path)
    if not need_annotations:
        content.setdefault('annotations', [])
    for key in ('images', 'annotations', 'categories'):
        if key not in content:
            raise DatasetError(f"{path}: lacks the key '{key}'. {_REMEDY}")
    images = _check_entries(path, 'images', content['images'], _IMAGE_KEYS)
    categories = _check_entries(path, 'categories', content['categories'], ('id', 'name'))
    _check_entries(path, 'annotations', content['annotations'], _ANNOTATION_KEYS)
    _check_references(path, content['annotations'], images, categories)
    for entry in content['images']:
        size = entry['width'], entry['height']
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise DatasetError(
                f'{path}: image {entry["id"]} ({entry["file_name"]}) has width and height {size}. '
                'Write them as the file has them, in whole pixels.'
            )
    by_id = {entry['id']: entry for entry in content['images']}
    check_masks(path, content['annotations'], by_id, refuse_degenerate)
    return content


def class_ids(path: str, content: dict[str, Any], classes: Sequence[str]) -> list[int]:
    """Find the category ids of classes."""
    for name, times in Counter(entry['name'] for entry in content['categories']).items():
        if times > 1 and name in classes:
            raise DatasetError(
                f"{path}: has {times} categories of the name '{name}'. Give them different names, "
                'or merge them into one id.'
            )
    by_name = {entry['name']: entry['id'] for entry in content['categories']}
    lacking = [name for name in classes if name not in by_name]
    if lacking:
        raise DatasetError(
            f"{path}: has no category '{lacking[0]}' ({len(lacking)} of {len(classes)} classes "
            f'are not among its {", ".join(list(by_name)[:10])}). Set metainfo=dict(classes=...) '
            "of the dataset, and the model's num_classes, to the categories of the file."
        )
    return [by_name[name] for name in classes]
