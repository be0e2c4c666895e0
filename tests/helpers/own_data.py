"""Small data sets of one's own: objects, label maps, classes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.data_sets import write_image

NAMES = ('a toad', 'a dog', "newt's")


def write_objects(root: Path, count: int = 8, masks: bool = True, photos: str = 'photos') -> None:
    """Write photographs and a COCO file whose annotation ids begin at 0."""
    images, notes = [], []
    for number in range(count):
        name = f'{photos}/{number}.jpg'
        write_image(root / name, (60, 80), number)
        images.append(dict(id=number, file_name=name, width=80, height=60))
        x, y = 5 + number, 8
        note = dict(id=number, image_id=number, category_id=number % 3 + 1, iscrowd=0, area=900)
        mask = dict(segmentation=[[x, y, x + 30, y, x + 30, y + 30, x, y + 30]]) if masks else {}
        notes.append(dict(note, bbox=[x, y, 30, 30], **mask))
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, 1)]
    content = dict(images=images, annotations=notes, categories=categories)
    (root / 'labels.json').write_text(json.dumps(content))


def write_maps(root: Path, count: int = 6, photos: str = 'images', maps: str = 'labels') -> None:
    """Write photographs, and label maps of ids 0 to 2 with a palette."""
    for number in range(count):
        write_image(root / photos / f'{number}.jpg', (60, 80), number)
        labels = Image.fromarray((np.indices((60, 80))[1] // 30).astype('u1'))
        labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        (root / maps).mkdir(exist_ok=True)
        labels.save(root / maps / f'{number}.png')


def write_classes(root: Path, count: int = 5) -> None:
    for name in NAMES:
        for number in range(count):
            write_image(root / name / f'{number}.png', (40, 30), number)
