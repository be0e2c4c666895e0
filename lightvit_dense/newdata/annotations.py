"""Find annotations of objects, convert them to COCO's format, and split them."""

import json
import xml.etree.ElementTree as ET
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightvit_dense.datasets.annotations import read_annotations, renumber
from lightvit_dense.datasets.unlabeled import EXTENSIONS
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import is_clutter, read_text, write_json

from .files import PARTS, best_folder, choose_parts, spaced, split

LAYOUTS = (
    "a COCO file with 'images', 'annotations' and 'categories', folders of labelme's .json or "
    "Pascal VOC's .xml files, or YOLO's .txt files in folders named labels beside a data.yaml"
)
READERS = {'labelme': 'from_labelme', 'Pascal VOC': 'from_pascal_voc', 'YOLO': 'from_yolo'}


class Source(NamedTuple):
    """Annotations: a file in COCO's format, or a folder of one file an image."""

    kind: str  # 'COCO' or one of READERS
    place: Path
    root: Path  # folder that has the images somewhere
    names: Path | None = None  # YOLO's file of class names


def find_sources(given: Path) -> dict[Path, Source]:
    """Return the annotations of one kind in a file, or below a folder, by their paths."""
    if not given.exists():
        raise UserError(f'{given}: does not exist')
    # A COCO file may lie in a folder of its own beside that of the images.
    beside = given.parent.parent if given.parent.name == 'annotations' else given.parent
    root = given if given.is_dir() else beside
    files = sorted(p for p in given.rglob('*') if p.is_file()) if given.is_dir() else [given]
    folders: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    for path in files:
        if not is_clutter(path.name):
            folders[path.suffix.lower(), path.parent].append(path)
    tables = [path for path in files if path.suffix in ('.yaml', '.yml')]
    found: dict[str, dict[Path, Source]] = defaultdict(dict)
    for (suffix, folder), paths in folders.items():
        if suffix == '.json' and 'shapes' in _read_json(paths[0]):
            found['labelme'][folder] = Source('labelme', folder, root)
        elif suffix == '.json':
            # COCO's own folder has files of captions and key points, too.
            paths = [path for path in paths if 'instances' in path.name] or paths
            keys = {'images', 'annotations', 'categories'}
            coco = [path for path in paths if keys <= set(_read_json(path))]
            found['COCO'] |= {path: Source('COCO', path, root) for path in coco}
        elif suffix == '.xml' and b'<annotation' in paths[0].read_bytes()[:1000]:
            found['Pascal VOC'][folder] = Source('Pascal VOC', folder, root)
        elif suffix == '.txt' and 'labels' in folder.parts and len(tables) == 1:
            found['YOLO'][folder] = Source('YOLO', folder, root, tables[0])
    found = {kind: sources for kind, sources in found.items() if sources}
    if not found:
        raise UserError(f'{given}: holds no annotations: needs {LAYOUTS}')
    if len(found) > 1:
        places = ', '.join(str(path) for sources in found.values() for path in sources)
        raise UserError(f'{given}: holds annotations of several kinds, give one place of {places}')
    return next(iter(found.values()))


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(read_text(path))
    except (ValueError, UserError):
        return {}
    return content if isinstance(content, dict) else {}


def image_folder(root: Path, names: Sequence[str], part: str) -> Path:
    """Find the folder that has most of some files."""
    sample = spaced(names, 50)
    folders = [root, *sorted(path for path in root.rglob('*') if path.is_dir())]
    counts = {folder: sum((folder / name).is_file() for name in sample) for folder in folders}
    return best_folder(counts, root, part, f'the images of {part}, such as {names[0]}')


def find_parts(args: Namespace) -> dict[str, tuple[Path, Path, dict]]:
    """Return 'train' and 'val' as COCO file, image folder and content; converts and splits."""
    sources = choose_parts(find_sources(args.data), args.data, 'annotations')
    if args.val:
        sources = {
            'train': sources['train'],
            'val': choose_parts(find_sources(args.val), args.val, 'annotations')['train'],
        }
    files = {part: source.place for part, source in sources.items()}
    images, contents = {}, {}
    written = len(sources) == 1
    for part, source in sources.items():
        if source.kind != 'COCO':
            written, files[part] = True, args.folder / f'{part}.json'
            images[part] = convert(source, files[part], part)
        contents[part] = read_annotations(str(files[part]), refuse_degenerate=False)
        names = [image['file_name'] for image in contents[part]['images']]
        if part not in images:
            images[part] = image_folder(source.root, names, part)
    own, *others = ([c['name'] for c in content['categories']] for content in contents.values())
    # A file of few objects may list fewer categories, or in another order.
    written |= any([name for name in names if name in own] != own for names in others)
    if written:
        for part, content in contents.items():
            renumber(str(files[part]), content)
        same_categories(list(contents.values()))
        if len(contents) == 1:
            contents, images['val'] = split_content(contents['train'], args), images['train']
        for part, content in contents.items():
            files[part] = args.folder / f'{part}.json'
            write_json(files[part], content)
    return {part: (files[part].resolve(), images[part].resolve(), contents[part]) for part in PARTS}


def convert(source: Source, target: Path, part: str) -> Path:
    """Write another format as COCO's by the package supervision; return the folder of images."""
    try:
        from supervision import DetectionDataset
    except ImportError as error:
        raise UserError(
            f'{source.place}: annotations of {source.kind} are read by the package '
            'supervision, which is not installed: pip install "supervision>=0.31"'
        ) from error
    images = source.place
    if source.kind == 'YOLO':  # images/train beside labels/train
        images = Path(*('images' if word == 'labels' else word for word in source.place.parts))
    elif source.kind == 'Pascal VOC':
        stems = {path.stem for path in source.place.iterdir()}
        found = (path for path in source.root.rglob('*') if path.suffix.lower() in EXTENSIONS)
        images = image_folder(
            source.root, [path.name for path in found if path.stem in stems], part
        )
    options = dict(images_directory_path=str(images), annotations_directory_path=str(source.place))
    options |= dict(data_yaml_path=str(source.names)) if source.names else {}
    try:
        data = getattr(DetectionDataset, READERS[source.kind])(**options)
        for objects in data.annotations.values():
            # An object of several pieces is one object, and no crowd.
            objects.data['iscrowd'] = np.zeros(len(objects), int)
        target.parent.mkdir(parents=True, exist_ok=True)
        data.as_coco(annotations_path=str(target), approximation_percentage=0.0)
    except (ValueError, KeyError, OSError, ET.ParseError) as error:
        raise UserError(f'{source.place}: cannot be read as {source.kind}: {error}') from error
    return images


def same_categories(contents: Sequence[dict]) -> None:
    """Number the categories of several files alike, in the order in which they are first named."""
    names = list(dict.fromkeys(c['name'] for content in contents for c in content['categories']))
    for content in contents:
        own = {c['id']: names.index(c['name']) + 1 for c in content['categories']}
        content['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        for note in content['annotations']:
            note['category_id'] = own[note['category_id']]


def split_content(content: dict, args: Namespace) -> dict[str, dict]:
    """Split a file by images; the rarest class that an image has is its group."""
    counts = Counter(note['category_id'] for note in content['annotations'])
    rarest: dict[int, int] = {}
    for note in sorted(content['annotations'], key=lambda note: counts[note['category_id']]):
        rarest.setdefault(note['image_id'], note['category_id'])
    images = content['images']
    names, groups = [i['file_name'] for i in images], [rarest.get(i['id'], -1) for i in images]
    parts = split(images, names, groups, args)
    return {part: _cut(content, listed) for part, listed in parts.items()}


def _cut(content: dict, images: list[dict]) -> dict:
    ids = {image['id'] for image in images}
    notes = [note for note in content['annotations'] if note['image_id'] in ids]
    return {**content, 'images': images, 'annotations': notes}
