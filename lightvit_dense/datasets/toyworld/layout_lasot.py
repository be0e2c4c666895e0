"""LaSOT's layout: the real names, so that only the data root differs from the real thing.

``<class>/<class>-<N>/img/%08d.jpg`` (counted from 1), ``groundtruth.txt`` with one ``x,y,w,h`` a
frame, ``full_occlusion.txt`` and ``out_of_view.txt`` with one row of 0 and 1, ``nlp.txt`` with a
sentence. Beside the classes: ``training_set.txt`` and ``testing_set.txt`` name the sequences, and
``att/<sequence>.txt`` holds 0 or 1 for each of LaSOT's attributes, as its evaluation toolkit does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .layout import Layout, Record, write_info, write_jpeg
from .spec import OBJECT_SETS, WorldSpec
from .video import ATTRIBUTES, VIDEO_SPLITS, make_video, video_name

_LISTS = {'train': 'training_set.txt', 'test': 'testing_set.txt'}
_FILES = ('groundtruth.txt', 'full_occlusion.txt', 'out_of_view.txt', 'nlp.txt')


class LaSOTLayout(Layout):
    """Writes and checks LaSOT's layout."""

    SPLITS = dict(train='videos', test='test_videos')

    def prepare(self, folder: Path, spec: WorldSpec) -> None:
        """Make the folders."""
        (folder / 'att').mkdir(parents=True)
        for name in _names(spec, VIDEO_SPLITS):
            (sequence_folder(folder, name) / 'img').mkdir(parents=True)

    def write_item(self, folder: Path, spec: WorldSpec, split: str, index: int) -> Record:
        """Write a video; the record holds its name, counts, attributes and sources."""
        video = make_video(spec, split, index)
        target = sequence_folder(folder, video.name)
        for number, frame in enumerate(video.frames, 1):
            write_jpeg(target / 'img' / f'{number:08d}.jpg', frame)
        lines = [','.join(map(str, box)) for box in video.boxes.tolist()]
        texts = {
            'groundtruth.txt': '\n'.join(lines),
            'full_occlusion.txt': _row(video.full_occlusion),
            'out_of_view.txt': _row(video.out_of_view),
            'nlp.txt': video.sentence,
        }
        for name, text in texts.items():
            (target / name).write_text(f'{text}\n', encoding='utf-8')
        row = _row(np.array([name in video.attributes for name in ATTRIBUTES]))
        (folder / 'att' / f'{video.name}.txt').write_text(f'{row}\n', encoding='utf-8')
        return {
            'name': video.name,
            'class_name': video.class_name,
            'frames': len(video.frames),
            'absent': int((video.full_occlusion | video.out_of_view).sum()),
            'attributes': list(video.attributes),
            'sources': video.sources,
        }

    def finish(
        self, folder: Path, spec: WorldSpec, split: str, records: list[Record]
    ) -> dict[str, Any]:
        """Write a split's list and credits and return its counts."""
        text = ''.join(f'{record["name"]}\n' for record in records)
        (folder / _LISTS[split]).write_text(text, encoding='utf-8')
        path, how = folder / f'{split}_info.json', 'moving over'
        write_info(path, spec, split, records, 'name', kind='video', how=how)
        classes = [record['class_name'] for record in records]
        attributes = [name for record in records for name in record['attributes']]
        return {
            'videos': len(records),
            'images': sum(record['frames'] for record in records),
            'absent': sum(record['absent'] for record in records),
            'classes': {n: classes.count(n) for n in OBJECT_SETS[spec.object_set] if n in classes},
            'attributes': {n: attributes.count(n) for n in ATTRIBUTES if n in attributes},
        }

    def expected(self, folder: Path, spec: WorldSpec) -> Iterator[Path | tuple[Path, str, int]]:
        """Yield what every split and every sequence has."""
        lengths = {'train': spec.video_frames, 'test': spec.test_frames}
        for split in self.splits(spec):
            yield folder / _LISTS[split]
            yield folder / f'{split}_info.json'
            for name in _names(spec, (split,)):
                target = sequence_folder(folder, name)
                for file in _FILES:
                    yield target / file
                yield folder / 'att' / f'{name}.txt'
                yield target / 'img', '*.jpg', lengths[split]


def sequence_folder(folder: Path, name: str) -> Path:
    """Return the folder of a sequence, e.g. ``book/book-3``."""
    return folder / name.rpartition('-')[0] / name


def _names(spec: WorldSpec, splits: tuple[str, ...]) -> list[str]:
    counts = LaSOTLayout().splits(spec)
    return [video_name(spec, split, i) for split in splits for i in range(counts[split])]


def _row(flags: np.ndarray) -> str:
    return ','.join(str(int(flag)) for flag in flags)
