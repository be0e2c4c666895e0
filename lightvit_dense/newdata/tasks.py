"""Read the data of each task into the values of its template."""

import os
import re
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from lightvit_dense.datasets.transforms.segmentation import count_ids, read_label_map
from lightvit_dense.errors import UserError
from lightvit_dense.utils.config_helpers import read_classes

from . import files
from .annotations import find_parts
from .start import find_start

LISTS = ('classes.txt', 'class_names.txt', 'labels.txt')
"""Files of a data set that may name the classes of label maps."""


@dataclass
class Found:
    """Values of a task's template, and the images."""

    values: dict[str, Any]
    images: dict[str, list[Path]]  # by part
    notes: list[str] = field(default_factory=list)
    longer: bool = False  # whether the longer side of the images decides the size


def detection(args: Namespace) -> Found:
    """Read annotations of objects."""
    found = Found(dict(masks=True, rle=False), {}, longer=True)
    for part, (file, folder, content) in find_parts(args).items():
        objects = [n.get('segmentation') for n in content['annotations'] if not n.get('iscrowd')]
        found.values['masks'] &= all(objects)
        found.values['rle'] |= any(isinstance(mask, dict) for mask in objects)
        found.values |= {part: str(file), f'{part}_images': str(folder)}
        found.images[part] = [folder / image['file_name'] for image in content['images']]
    if not found.values['masks']:
        found.notes.append('some objects have no mask: a detector of boxes only')
    return found


def classification(args: Namespace) -> Found:
    """Read folders of classes, or a table of images and classes."""
    rows = {'train': _labelled(args.data)}
    # Parts have folders of classes; a folder of pictures may be the class of trains.
    deep = {path.parent for path in args.data.glob('*/*') if path.is_dir()}
    parts = {path: path for path in sorted(deep) if files.part_of(path, args.data)}
    if args.val:
        rows['val'] = _labelled(args.val)
    elif len(parts) > 1:
        chosen = files.choose_parts(parts, args.data, 'class folders')
        rows = {part: _labelled(folder) for part, folder in chosen.items()}
    # The paths of a table may lead anywhere.
    root = Path(os.path.commonpath({path.parent for own in rows.values() for path, _ in own}))
    if 'val' not in rows:
        whole = rows['train']
        own_names = [path.relative_to(root) for path, _ in whole]
        rows = files.split(whole, own_names, [label for _, label in whole], args)
    names = sorted({label for own in rows.values() for _, label in own})
    if len(names) < 2:
        raise UserError(
            f'{args.data}: all images are of the class {names[0]!r}, so there is nothing to tell '
            'apart. Give images of two classes or more, in a folder each'
        )
    numbers = {name: number for number, name in enumerate(names)}
    values = dict(root=str(root), classes=files.write_lines(args.folder / LISTS[0], names))
    for part, own in rows.items():
        lines = [f'{path.relative_to(root)} {numbers[label]}' for path, label in own]
        values[part] = files.write_lines(args.folder / f'{part}.txt', lines)
    found = Found(values, {part: [path for path, _ in own] for part, own in rows.items()})
    unseen = {label for _, label in rows['val']} - {label for _, label in rows['train']}
    if unseen:
        found.notes.append(f'no training image is of {", ".join(sorted(unseen)[:10])}')
    return found


def _labelled(data: Path) -> list[tuple[Path, str]]:
    """Return the images of class folders, or of a table, with their classes."""
    tables = [data] if data.is_file() else sorted(data.glob('*.csv'))
    if len(tables) == 1:
        return [(tables[0].parent / name, label) for name, label in files.read_table(tables[0])]
    deep = [path for path in files.images_below(data) if path.parent != data]
    if not deep:
        raise UserError(f'{data}: holds neither folders of classes with images nor one CSV file')
    return [(path, path.relative_to(data).parts[0]) for path in deep]


def segmentation(args: Namespace) -> Found:
    """Read folders of images and label maps."""
    found, ids = Found({}, {}), set()
    pairs = files.choose_parts(_pair_maps(args.data), args.data, 'label maps')
    if args.val:
        pairs['val'] = files.choose_parts(_pair_maps(args.val), args.val, 'label maps')['train']
    for part, (folder, maps) in pairs.items():
        images, labels = files.images_below(folder), files.images_below(maps)
        ending = Counter(path.suffix for path in images).most_common(1)[0][0]
        stems = {path.relative_to(maps).with_suffix('') for path in labels}
        names = [p.relative_to(folder).with_suffix('') for p in images if p.suffix == ending]
        names = [name for name in names if name in stems]
        if alone := len(images) + len(labels) - 2 * len(names):
            found.notes.append(f'{folder}, {maps.name}: {alone} files without partner are left out')
        for path in files.spaced(labels, 1000):
            ids |= set(np.flatnonzero(count_ids(read_label_map(str(path)))).tolist())
        options = f'data_prefix=dict(img_path={str(folder)!r}, seg_map_path={str(maps)!r})'
        options += f', img_suffix={ending!r}, seg_map_suffix={labels[0].suffix!r}'
        found.values[part] = dict(folders=options, names=names, place=(folder, ending))
    if len(pairs) == 1:
        whole = found.values['train']
        parts = files.split(whole['names'], whole['names'], [''] * len(whole['names']), args)
        found.values = {part: dict(whole, names=names) for part, names in parts.items()}
    for part in files.PARTS:
        own = found.values[part]
        folder, ending = own['place']
        found.images[part] = [folder / f'{name}{ending}' for name in own['names']]
        own['ann_file'] = files.write_lines(args.folder / f'{part}.txt', own['names'])
    found.values['classes'] = _map_classes(args, sorted(ids - {255}))
    return found


def _pair_maps(root: Path) -> dict[Path, tuple[Path, Path]]:
    """Return (images, label maps) by folder of label maps, which images share most names with."""
    folders: dict[Path, list[Path]] = {}
    for path in files.images_below(root):
        folders.setdefault(path.parent, []).append(path)
    # Maps of objects tell no classes.
    classes = (f for f in folders if not re.search('object|instance', f.name.lower()))
    maps = [folder for folder in classes if _is_map(folders[folder][0])]
    pairs = {}
    for folder in maps:
        own = {path.stem for path in folders[folder]}
        counts = {
            other: sum(path.stem in own for path in paths)
            for other, paths in folders.items()
            if other not in maps
        }
        if any(counts.values()):
            part, what = files.part_of(folder, root), f'the images of {folder.name}'
            pairs[folder] = files.best_folder(counts, root, part, what), folder
    if not pairs:
        raise UserError(
            f'{root}: no folder of label maps (PNG, grey or with a palette) shares the names of a '
            'folder of images. Put images/NAME.jpg and labels/NAME.png there'
        )
    return pairs


def _is_map(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.format == 'PNG' and image.mode in ('L', 'P', '1', 'I', 'I;16')
    except OSError:
        return False


def _map_classes(args: Namespace, ids: list[int]) -> str:
    """Return the file of the classes' names: the user's, else one that numbers them."""
    if len(ids) < 2:
        raise UserError(
            f'{args.data}: its label maps hold the ids {ids} alone (255 is ignored). Write the '
            'number of its class at every pixel, from 0'
        )
    given = next((path for name in LISTS if (path := args.data / name).is_file()), None)
    if given is None:
        names = [f'class_{number}' for number in range(ids[-1] + 1)]
        return files.write_lines(args.folder / LISTS[0], names)
    classes = read_classes(str(given))
    if len(classes) <= ids[-1]:
        raise UserError(
            f'{given}: names {len(classes)} classes, but the label maps hold the id {ids[-1]}. '
            'Name one class a line, that of id 0 first'
        )
    return str(given)


def pretraining(args: Namespace) -> Found:
    """Read a folder of images."""
    images = files.images_below(args.data)
    if not images:
        raise UserError(f'{args.data}: holds no image')
    teacher = find_start(args.teacher) if args.teacher else None
    if teacher and (teacher.checkpoint is None or not teacher.plain):
        raise UserError(f'--teacher {args.teacher}: must be the weights of a plain ViT')
    return Found(dict(root=str(args.data), teacher=teacher), {'train': images})


def tracking(args: Namespace) -> Found:
    """Read videos with boxes; one part is split by links to its sequences."""
    found = Found(dict(train=str(args.data), val=str(args.val or args.data)), {})
    names = _sequences(args.data).names
    if not args.val and len(names) == 1:
        found.notes.append(f'one sequence, {names[0]}: it is used for training and validation')
    elif not args.val:
        for part, own in files.split(names, names, [''] * len(names), args).items():
            place = args.folder / part
            place.mkdir(parents=True, exist_ok=True)
            for path in args.data.iterdir():
                (place / path.name).unlink(missing_ok=True)
                if {path.name, path.stem} & set(own):
                    (place / path.name).symlink_to(path)
            found.values[part] = str(place)
    for part in files.PARTS:
        one = _sequences(Path(found.values[part]))
        found.values[f'{part}_frames'] = frames = int(np.sum(one.lengths))
        found.notes.append(f'{part}: {len(one)} sequences, {frames} frames')
    return found


def _sequences(folder: Path) -> Any:
    return DATASETS.build(dict(type='tracking.CustomSequences', data_root=str(folder)))


TASKS = {
    task.__name__: task for task in (classification, detection, segmentation, tracking, pretraining)
}
