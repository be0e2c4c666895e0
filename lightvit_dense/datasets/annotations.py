"""Reading annotation files in COCO's layout, and refusing what would go wrong later."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from lightvit_dense.utils.io import read_text

from .annotation_boxes import check_boxes
from .annotation_masks import check_masks
from .errors import DatasetError

_REMEDY = 'Check that the path points at an instances_*.json file and that it was copied whole.'
_HUGE = 1e12  # beyond any area; keeps the arithmetic of pycocotools from overflow


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


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_HUGE < value < _HUGE


class _Rule(NamedTuple):
    """A check of a value, and what an error asks for."""

    fits: Callable[[Any], bool]
    expected: str
    default: Any = None  # of optional keys


_ID = _Rule(
    lambda value: type(value) is int and 0 <= value < 2**63,
    'an integer from 0 on, without quotes; renumber other ids',
)
_TEXT = _Rule(lambda value: type(value) is str and value.strip() != '', 'a non-empty string')
_SIDE = _Rule(lambda value: type(value) is int and value > 0, 'the size of the image in pixels')
_FLAG = _Rule(
    lambda value: type(value) in (int, bool) and value in (0, 1),
    '0 or 1, without quotes, or leave it out (1 marks objects to ignore)',
    0,
)
_BOX = _Rule(
    lambda value: type(value) is list and len(value) == 4 and all(map(_is_number, value)),
    '[left, top, width, height] in pixels',
)
_AREA = _Rule(_is_number, 'the number of pixels of its mask, or of its box where it has none')
_RULES: dict[str, dict[str, _Rule]] = {
    'images': dict(id=_ID, file_name=_TEXT, width=_SIDE, height=_SIDE),
    'categories': dict(id=_ID, name=_TEXT),
    'annotations': dict.fromkeys(('id', 'image_id', 'category_id'), _ID)
    | dict(bbox=_BOX, area=_AREA, iscrowd=_FLAG, ignore=_FLAG),
}


def _check_entries(name: str, kind: str, entries: Any) -> set[int]:
    """Check the values of entries, and that ids are unique; return the ids."""
    if not isinstance(entries, list):
        raise DatasetError(f"{name}: '{kind}' is not a list. {_REMEDY}")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DatasetError(f'{name}: {kind}[{place}] is no dict but {entry!r:.40}. {_REMEDY}')
    for key, rule in _RULES[kind].items():
        values = [entry.get(key, rule.default) for entry in entries]
        if all(map(rule.fits, values)):
            continue
        place = next(place for place, value in enumerate(values) if not rule.fits(value))
        entry = entries[place]
        which = f'{name}: {kind}[{place}] (id {_id_of(entry)})'
        if key not in entry:
            raise DatasetError(f"{which} lacks '{key}'. Add it to the file: {rule.expected}.")
        raise DatasetError(f'{which} has the {key} {entry[key]!r:.80}. Write {rule.expected}.')
    counts = Counter(entry['id'] for entry in entries)
    if len(counts) != len(entries):
        double = next(number for number, times in counts.items() if times > 1)
        raise DatasetError(
            f"{name}: '{kind}' has the id {double} {counts[double]} times. Renumber them from 1."
        )
    return set(counts)


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
    for key in _RULES:
        if key not in content:
            raise DatasetError(f"{path}: lacks the key '{key}'. {_REMEDY}")
    known = {kind: _check_entries(path, kind, content[kind]) for kind in _RULES}
    if not content['images']:
        raise DatasetError(f"{path}: 'images' is empty. {_REMEDY}")
    annotations = content['annotations']
    for key, kind in (('image_id', 'images'), ('category_id', 'categories')):
        for entry in annotations:
            if entry[key] not in known[kind]:
                raise DatasetError(
                    f'{path}: annotation {entry["id"]} has the {key} {entry[key]}, which is not '
                    f"among '{kind}'. Add it there or remove the annotation."
                )
    by_id = {entry['id']: entry for entry in content['images']}
    check_masks(path, annotations, by_id, refuse_degenerate)
    check_boxes(path, annotations, by_id)
    return content


def renumber(path: str, content: dict[str, Any]) -> None:
    """Number annotations from 1 where the file does so from 0, which COCO takes for "no match"."""
    if any(entry['id'] == 0 for entry in content['annotations']):
        for entry in content['annotations']:
            entry['id'] += 1
        text = 'annotation ids start at 0, which COCO takes for "no match"; renumbered from 1'
        print_log(f'{path}: {text}', logger='current')


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
