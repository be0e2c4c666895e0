"""ADE20K's layout, as ``ADEChallengeData2016`` has it: only the data root differs.

The images are those of COCO's layout, byte for byte, and so are the objects' masks. A label map is
a grey PNG of eight bits: 1..150 number ADE20K's classes, 0 is unlabelled.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .assets import ToyWorldError
from .compose import Scene
from .layout import Layout, Record, write_info, write_jpeg
from .spec import WorldSpec, make_scene

BACKGROUND = 1
"""What is no object: 'wall'."""
ADE_IDS = {
    'person': 13,
    'bottle': 99,
    'book': 68,
    'flower': 67,
    'soap': 42,
    'scissors': 109,
    'spoon': 143,
    'mousetrap': 101,
    'bird': 109,
    'fish': 123,
    'fruit': 121,
    'instrument': 102,
    'mammal': 127,
    'tool': 143,
    'vegetable': 18,
    'vehicle': 21,
}
"""ADE20K's number of each class; see ``_STAND_INS`` for those that ADE20K does not have."""

_FOLDERS = {'train': 'training', 'val': 'validation'}
_README = """Toy world in the layout of ADE20K's scene parsing benchmark (ADEChallengeData2016).

images/{training,validation}/ADE_{train,val}_<number>.jpg       photographs
annotations/{training,validation}/ADE_{train,val}_<number>.png  label maps: grey, eight bits
objectInfo150.txt      the 150 classes: number, share of pixels, images of training and validation
sceneCategories.txt    the scene of each image, always toy_world
{training,validation}_info.json  where the pixels come from, and counts

0 is unlabelled: a rim of one pixel around every object. 1..150 are ADE20K's classes:
wall stands for all background{stand_ins}.
"""
_STAND_INS = {
    'toys': """; person, bottle, book and flower for themselves. ADE20K has no class
for the rest, which take the nearest: soap (a printed carton) box, spoon plate, mousetrap (a
printed card) poster, scissors plaything""",
    'stamps': """, flower for itself. ADE20K has no class for the other kinds, which
take one each: mammal animal, bird plaything, fish tank, fruit food, instrument stage, tool plate,
vegetable plant, vehicle car""",
}


class ADE20KLayout(Layout):
    """Writes and checks ADE20K's layout."""

    SPLITS = dict(train='train', val='val')

    def prepare(self, folder: Path, spec: WorldSpec) -> None:
        """Make the folders."""
        for part in _FOLDERS.values():
            (folder / 'images' / part).mkdir(parents=True)
            (folder / 'annotations' / part).mkdir(parents=True)
        text = _README.replace('{stand_ins}', _STAND_INS[spec.object_set])
        (folder / 'README.txt').write_text(text, encoding='utf-8')

    def write_item(self, folder: Path, spec: WorldSpec, split: str, index: int) -> Record:
        """Write image and label map; the record holds name, sources and pixels by number."""
        scene, sources = make_scene(spec, split, index)
        name = f'ADE_{split}_{index + 1:08d}'
        part = _FOLDERS[split]
        write_jpeg(folder / 'images' / part / f'{name}.jpg', scene.image)
        labels = label_map(scene)
        path = folder / 'annotations' / part / f'{name}.png'
        if not cv2.imwrite(str(path), labels):
            raise ToyWorldError(f'{path} cannot be written')
        counts = np.bincount(labels.ravel())
        pixels = {int(number): int(counts[number]) for number in np.flatnonzero(counts)}
        return {'name': name, 'sources': sources, 'pixels': pixels}

    def finish(
        self, folder: Path, spec: WorldSpec, split: str, records: list[Record]
    ) -> dict[str, Any]:
        """Write a split's info, bring the common lists up to date and return the counts."""
        from mmseg.utils.class_names import ade_classes  # takes seconds to import

        pixels, images = np.zeros(151, int), np.zeros(151, int)
        for record in records:
            for number, count in record['pixels'].items():
                pixels[number] += count
                images[number] += 1
        totals = {'pixels': pixels.tolist(), 'images': images.tolist()}
        write_info(_info_file(folder, split), spec, split, records, 'name', **totals)
        with (folder / 'sceneCategories.txt').open('a', encoding='utf-8') as file:
            file.writelines(f'{record["name"]} toy_world\n' for record in records)
        names = [name.strip() for name in ade_classes()]
        _write_object_info(folder, names)
        seen = [number for number in range(1, 151) if images[number]]
        classes = {names[number - 1]: int(images[number]) for number in seen}
        return {'images': len(records), 'classes': classes}

    def expected(self, folder: Path, spec: WorldSpec) -> Iterator[Path | tuple[Path, str, int]]:
        """Yield the common files, and what every split has."""
        for name in ('objectInfo150.txt', 'sceneCategories.txt', 'README.txt'):
            yield folder / name
        for split, count in self.splits(spec).items():
            yield _info_file(folder, split)
            yield folder / 'images' / _FOLDERS[split], '*.jpg', count
            yield folder / 'annotations' / _FOLDERS[split], '*.png', count


def label_map(scene: Scene) -> np.ndarray:
    """Return ADE20K's ids in a scene, uint8 [H, W]; borders of objects are unlabelled (0)."""
    labels = np.full(scene.image.shape[:2], BACKGROUND, np.uint8)
    objects = np.zeros_like(labels)
    for instance in scene.instances:
        objects[instance.mask] = 1
    labels[cv2.dilate(objects, np.ones((3, 3), np.uint8)) > 0] = 0
    for instance in scene.instances:
        labels[instance.mask] = ADE_IDS[instance.class_name]
    return labels


def _info_file(folder: Path, split: str) -> Path:
    return folder / f'{_FOLDERS[split]}_info.json'


def _write_object_info(folder: Path, names: list[str]) -> None:
    """Write ``objectInfo150.txt`` from the splits that are finished."""
    infos: list[dict[str, list[int]]] = [{'pixels': [0] * 151, 'images': [0] * 151}] * 2
    for place, split in enumerate(_FOLDERS):
        if (file := _info_file(folder, split)).is_file():
            infos[place] = json.loads(file.read_text('utf-8'))
    pixels = np.sum([info['pixels'] for info in infos], axis=0)
    lines = ['Idx\tRatio\tTrain\tVal\tName']
    for number, name in enumerate(names, 1):
        ratio = pixels[number] / max(1, pixels.sum())
        train, val = (info['images'][number] for info in infos)
        lines.append(f'{number}\t{ratio:.4f}\t{train}\t{val}\t{name}')
    (folder / 'objectInfo150.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
