"""COCO 2017's layout: the real names, so that only the data root differs from the real thing.

A labelled split gets ``annotations/instances_<split>2017.json``, the unlabelled one
``annotations/image_info_unlabeled2017.json``, all of them ``<split>2017/<12 digits>.jpg``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from .layout import Layout, Record, credits_of, write_jpeg
from .spec import WorldSpec, make_scene
from .stamps import LICENSE

SMALL, LARGE = 32**2, 96**2
"""COCO's limits between small, medium and large, in pixels of area."""


class CocoLayout(Layout):
    """Writes and checks COCO's layout. Masks are compressed RLE; ids count from 1."""

    SPLITS = dict(train='train', val='val', unlabeled='unlabeled')

    def prepare(self, folder: Path, spec: WorldSpec) -> None:
        """Make the folders."""
        for name in ('annotations', *(f'{split}2017' for split in self.splits(spec))):
            (folder / name).mkdir(parents=True)

    def write_item(self, folder: Path, spec: WorldSpec, split: str, index: int) -> Record:
        """Write an image; the record holds its COCO entry, sources and annotations without ids."""
        scene, sources = make_scene(spec, split, index)
        name = f'{index + 1:012d}.jpg'
        write_jpeg(folder / f'{split}2017' / name, scene.image)
        height, width = scene.image.shape[:2]
        image = {'id': index + 1, 'file_name': name, 'width': width, 'height': height, 'license': 1}
        annotations = []
        for instance in scene.instances if split != 'unlabeled' else ():
            code = rle.encode(np.asfortranarray(instance.mask.view(np.uint8)))
            named = {'individual': instance.source.name} if spec.object_set == 'stamps' else {}
            annotations.append(
                {
                    'image_id': index + 1,
                    'category_id': spec.classes.index(instance.class_name) + 1,
                    'segmentation': {'size': [height, width], 'counts': code['counts'].decode()},
                    'area': int(instance.mask.sum()),
                    'bbox': list(instance.bbox),
                    'iscrowd': 0,
                    **named,
                }
            )
        return {'image': image, 'sources': sources, 'annotations': annotations}

    def finish(
        self, folder: Path, spec: WorldSpec, split: str, records: list[Record]
    ) -> dict[str, Any]:
        """Write a split's JSON and return its counts."""
        annotations = [note for record in records for note in record['annotations']]
        licence = f'objects {LICENSE}; ' if spec.object_set == 'stamps' else ''
        licence += 'see info.sources'
        content = {
            'info': {
                'description': f'Toy world, {split}: real objects composed on real photographs',
                'url': '',
                'version': '1.0',
                'year': 2017,
                'contributor': 'lightvit_dense',
                'date_created': '',
                'sources': credits_of(spec, records),
                'image_sources': {str(r['image']['id']): r['sources'] for r in records},
            },
            'licenses': [{'id': 1, 'name': licence, 'url': ''}],
            'images': [record['image'] for record in records],
            'categories': [
                {'id': number, 'name': name, 'supercategory': 'object'}
                for number, name in enumerate(spec.classes, 1)
            ],
        }
        if split != 'unlabeled':
            content['annotations'] = [{'id': i, **note} for i, note in enumerate(annotations, 1)]
        self._json(folder, split).write_text(json.dumps(content), encoding='utf-8')
        if split == 'unlabeled':
            return {'images': len(records)}
        area = np.array([note['area'] for note in annotations])
        label = [note['category_id'] for note in annotations]
        return {
            'images': len(records),
            'instances': len(annotations),
            'small': int((area < SMALL).sum()),
            'medium': int(((area >= SMALL) & (area <= LARGE)).sum()),
            'large': int((area > LARGE).sum()),
            'classes': {name: label.count(number) for number, name in enumerate(spec.classes, 1)},
        }

    def expected(self, folder: Path, spec: WorldSpec) -> Iterator[Path | tuple[Path, str, int]]:
        """Yield what every split has."""
        for split, count in self.splits(spec).items():
            yield self._json(folder, split)
            yield folder / f'{split}2017', '*.jpg', count

    @staticmethod
    def _json(folder: Path, split: str) -> Path:
        kind = 'image_info' if split == 'unlabeled' else 'instances'
        return folder / 'annotations' / f'{kind}_{split}2017.json'
