"""Check a toy world, each layout as the real data set would be."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..toyworld import LAYOUTS, WorldSpec
from .ade20k import check_ade20k
from .coco import check_coco
from .imagenet import check_imagenet
from .report import Report, Request

ORIGIN = (
    'Move the world away and build it again: tools/dataset_converters/make_toyworld.py --out '
    'FOLDER --layouts {layouts}.'
)


def check_toyworld(root: str, request: Request) -> Report:
    """Check all layouts of a toy world against what was built."""
    report = Report('toyworld', root, request, ORIGIN.format(layouts=' '.join(LAYOUTS)))
    path = Path(root) / 'toyworld.json'
    try:
        marker = json.loads(path.read_text(encoding='utf-8'))
        spec, names, stats = WorldSpec.from_dict(marker['spec']), marker['layouts'], marker['stats']
    except FileNotFoundError:
        report.missing(str(path))
        return report
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.damaged(f'{path} is not that of a whole world ({error!r})')
        return report
    report.remedy = origin = ORIGIN.format(layouts=' '.join(names))
    for name in names:
        problem = LAYOUTS[name].problem(Path(root) / name, spec)
        if problem:
            report.missing(problem)
        part = _check(name, os.path.join(root, name), request, origin, stats[name])
        known = {problem.what for problem in report.problems}
        report.rows += [replace(row, part=f'{name}: {row.part}') for row in part.rows]
        report.problems += [found for found in part.problems if found.what not in known]
        report.notes += part.notes
    return report


def _check(name: str, root: str, request: Request, origin: str, stats: dict[str, Any]) -> Report:
    """Check a layout against its counts."""
    if name == 'lasot':
        return _check_videos(root, request, origin, stats)
    splits = {split: counts for split, counts in stats.items() if split in ('train', 'val')}
    images = {split: counts['images'] for split, counts in splits.items()}
    if name == 'ade20k':
        return check_ade20k(root, request, origin, images)
    classes = len(stats['train']['classes'])
    if name == 'imagenet':
        return check_imagenet(root, request, origin, images, classes)
    instances = {split: counts['instances'] for split, counts in splits.items()}
    return check_coco(root, request, origin, images, instances, classes)


def _check_videos(root: str, request: Request, origin: str, stats: dict[str, Any]) -> Report:
    """Check the videos, if the package of tracking has told how."""
    from . import CHECKS

    if 'lasot' not in CHECKS:
        report = Report('lasot', root)
        report.note(f'{root}: not checked, as tracking.datasets.checking is not imported')
        return report
    numbers = {'train': 'train', 'test': 'val'}  # the world has no split of the name 'test'
    wanted = {s: stats[s]['videos'] for s in numbers if request.wants(numbers[s])}
    return CHECKS['lasot'](root, replace(request, splits=None), origin=origin, sequences=wanted)
