"""ImageNet's layout: class folders, with class names in the place of WordNet ids.

``<split>/<class>/<class>_<number>.JPEG``; ``<split>.txt`` lists path and label of every image, and
``classes.txt`` the classes in the order of their labels, which is that of the folders.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .layout import Layout, Record, write_info, write_jpeg
from .spec import WorldSpec, make_portrait


class ImageNetLayout(Layout):
    """Writes and checks ImageNet's layout; one object dominates each image."""

    SPLITS = dict(train='portraits', val='val')

    def prepare(self, folder: Path, spec: WorldSpec) -> None:
        """Make the folders."""
        for split, count in self.splits(spec).items():
            for name in sorted(spec.classes)[:count]:
                (folder / split / name).mkdir(parents=True)
            (folder / split).mkdir(parents=True, exist_ok=True)
        text = ''.join(f'{name}\n' for name in sorted(spec.classes))
        (folder / 'classes.txt').write_text(text, encoding='utf-8')

    def write_item(self, folder: Path, spec: WorldSpec, split: str, index: int) -> Record:
        """Write an image; the record holds its path, label and sources."""
        scene, sources = make_portrait(spec, split, index)
        name = scene.instances[0].class_name
        path = f'{split}/{name}/{name}_{index}.JPEG'
        write_jpeg(folder / path, scene.image)
        return {'path': path, 'label': sorted(spec.classes).index(name), 'sources': sources}

    def finish(
        self, folder: Path, spec: WorldSpec, split: str, records: list[Record]
    ) -> dict[str, Any]:
        """Write a split's list and credits and return its counts."""
        lines = ''.join(f'{record["path"]} {record["label"]}\n' for record in records)
        (folder / f'{split}.txt').write_text(lines, encoding='utf-8')
        write_info(folder / f'{split}_info.json', spec, split, records, 'path')
        labels = [record['label'] for record in records]
        classes = {name: labels.count(i) for i, name in enumerate(sorted(spec.classes))}
        return {'images': len(records), 'classes': classes}

    def expected(self, folder: Path, spec: WorldSpec) -> Iterator[Path | tuple[Path, str, int]]:
        """Yield what every split has."""
        for split, count in self.splits(spec).items():
            for name in ('classes.txt', f'{split}.txt', f'{split}_info.json'):
                yield folder / name
            yield folder / split, '*/*.JPEG', count
