"""GOT-10k: ten thousand videos of 563 classes."""

import os
from typing import Any, ClassVar

import numpy as np

from lightvit_dense.datasets.errors import DatasetError

from ..registry import DATASETS
from .published import got10k_positions
from .table import SequenceRow
from .videos import Entry, VideoSet

_FOLDERS = {'val': 'val', 'test': 'test'}
_FILES = ('groundtruth.txt', 'absence.label', 'cover.label', 'meta_info.ini')


@DATASETS.register_module()
class GOT10k(VideoSet):
    """GOT-10k (Huang et al., TPAMI 2019): 9335 videos to train, 180 to validate, 180 to test.

    ``data_root`` is a folder or the LMDB made of it; for the options see :class:`VideoSet`. Layout:
    ``train/list.txt`` and ``train/GOT-10k_Train_000001/`` with ``00000001.jpg`` and on,
    ``groundtruth.txt``, ``absence.label``, ``cover.label`` and ``meta_info.ini``; ``val`` and
    ``test`` likewise, the latter with the first box alone and no labels. A target is visible where
    its box has an area, it is not absent, and some of it is covered by the image.

    Splits of the training part, as PyTracking, STARK and OSTrack use them: 'train_full' (9335),
    'train' (7934), 'vottrain' (7086) and 'votval' (1249); the last two leave out what the VOT
    challenge forbids. 'val' and 'test' are the folders of that name.
    """

    name: ClassVar[str] = 'GOT-10k'
    ORIGIN: ClassVar[str] = (
        "Unpack GOT-10k's archives so that train/list.txt, val/list.txt and test/list.txt are "
        'below data_root, with the folders of the sequences beside them.'
    )
    SPLITS: ClassVar[tuple[str, ...]] = (
        'train', 'val', 'test', 'vottrain', 'votval', 'train_full'
    )  # fmt: skip
    FIRST_ONLY: ClassVar[tuple[str, ...]] = ('test',)
    GONE: ClassVar[tuple[str, ...]] = ('absence', 'no_cover')

    @classmethod
    def required_files(
        cls, data_root: str, split: str = 'train', source: str = 'folder', **kwargs: Any
    ) -> list[str]:
        """Return the paths that have to exist, for the check before a run."""
        cls._check_split(split)
        part = _FOLDERS.get(split, 'train')
        return [data_root if source == 'lmdb' else os.path.join(data_root, part, 'list.txt')]

    def _list_entries(self) -> list[Entry]:
        part = _FOLDERS.get(self.split, 'train')
        self._need(f'{part}/list.txt')
        listed = self._listed(f'{part}/list.txt') or []
        if part == 'train':
            names = {f'GOT-10k_Train_{at + 1:06d}' for at in got10k_positions(self.split)}
            listed = [name for name in listed if name in names]
        chosen = self._choose(listed, set(self.store.children(part)))
        return [
            Entry(name, f'{part}/{name}', tuple(f'{part}/{name}/{file}' for file in _FILES))
            for name in chosen
        ]

    def _parse(self, entry: Entry) -> SequenceRow:
        boxes, labels = self._boxes(entry.notes[0]), entry.notes[1:3]
        if self.split == 'test':
            gone = {name: np.zeros(len(boxes), bool) for name in self.GONE}
        else:
            absent, cover = (self._flags(key, len(boxes)) for key in labels)
            if len(cover) and not 0 <= cover.min() <= cover.max() <= 8:
                raise DatasetError(
                    f'{self.store.where(labels[1])}: cover is told in eighths, from 0 to 8'
                )
            gone = dict(zip(self.GONE, (absent != 0, cover == 0), strict=True))
        return self._row(entry, boxes, gone, _class_name(self._read(entry.notes[3])))


def _class_name(data: bytes | None) -> str:
    """Return the class that a video's notes name, '' if there are none."""
    for line in (data or b'').decode('utf-8-sig', 'replace').splitlines():
        key, _, value = line.partition(':')
        if key.strip() == 'object_class':
            return value.strip()
    return ''
