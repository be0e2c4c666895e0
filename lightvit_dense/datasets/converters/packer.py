"""Pack images: decoded and resized once, a shard a thread; a killed run loses open shards."""

import io
import os
import re
import shutil
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightvit_dense.utils.io import atomic_path, atomic_write, sha256, write_json

from ..errors import DatasetError
from ..imagenet_index import check_present, open_tree, read_image_list
from ..lmdb_format import listing_digest
from ..lmdb_writer import Report, alone, check_keys
from ..packed import KEYS, ROWS, PackedMeta, PackSettings, key_hash, open_meta, read_meta
from ..storage import FolderStorage, LmdbStorage, Storage, data_file
from ..text import read_json
from ..transforms.augment import resize_box
from ..transforms.jpeg import read_header
from ..transforms.loading import JPEG, BadImage, decode

_OWN = re.compile(r'shard-\d{6}\.(tar|json)|index\.(json|npy)|keys\.txt|\..*\.tmp')
_BLOCK, _QUALITY = tarfile.BLOCKSIZE, [cv2.IMWRITE_JPEG_QUALITY, 90]


def pack_picture(data: bytes, key: str, settings: PackSettings) -> tuple[bytes, int, int]:
    """Resize a picture's short side as torchvision's ``Resize`` does, if it is longer."""
    header = read_header(data) if data.startswith(JPEG) else None
    image = decode(data, 'rgb', exif=settings.exif, path=key)
    side, (height, width) = settings.short_side, image.shape[:2]
    short = min(height, width)
    if short > side:
        box, (height, width) = (
            (0, 0, width, height),
            (side * height // short, side * width // short),
        )
        image = resize_box(image, box, (height, width), 'bicubic', 'pillow')
    if settings.format == 'raw':
        data = b'P6\n%d %d\n255\n' % (width, height) + image.tobytes()
    elif header is None or short > side or (settings.exif and header.orientation != 1):
        data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY)[1].tobytes()
    return data, height, width


def open_source(source: str | os.PathLike, listed: str = '') -> tuple[Storage, list[str]]:
    """Return what reads the images of a folder or LMDB, and the keys of all or of a list."""
    kind = LmdbStorage if data_file(source).is_file() else FolderStorage
    tree = open_tree(kind(source), '')
    keys = list(tree.keys())
    if listed:
        records = read_image_list(listed, '', None)
        check_present(tree, records, listed)
        keys = sorted({key for key, _ in records})
    if not keys:
        raise DatasetError(f'{source}: holds no image')
    check_keys(keys, 4096)
    return tree.storage, keys


def verify_packed(target: str | os.PathLike, workers: int, report: Report) -> PackedMeta:
    """Compare the files of a packed set with their hashes."""
    meta, wrong = open_meta(target), []
    files = [*meta.shardlist, *meta.lists]
    with ThreadPoolExecutor(workers) as pool:
        hashes = pool.map(lambda file: sha256(Path(target, file['url'])), files)
        for number, (file, found) in enumerate(zip(files, hashes, strict=True), 1):
            wrong += [file['url']] if found != file['sha256'] else []
            report('verifying', number, len(files))
    if wrong:
        raise DatasetError(
            f'{target}: {len(wrong)} of {len(files)} files differ from their SHA-256, such as '
            f'{wrong[:3]}. Copy them again, or pack the images again.'
        )
    return meta


def _describe(path: Path, count: int) -> dict[str, Any]:
    size = path.stat().st_size
    return {'url': path.name, 'nsamples': count, 'filesize': size, 'sha256': sha256(path)}


@dataclass
class Packer:
    """Packs images, or goes on where an interrupted run stopped.

    Up to ``max_bad`` images may be unreadable: they keep their places, and reading them is an error
    that loading transforms count.
    """

    storage: Storage
    keys: Sequence[str]
    target: Path
    settings: PackSettings
    workers: int = 8
    max_bad: int = 0
    report: Report = lambda *_: None

    def pack(self) -> PackedMeta:
        """Pack the images; a DatasetError says why that cannot be."""
        new = PackedMeta(self.settings, len(self.keys), listing_digest(self.keys))
        with alone(self.target, _OWN.fullmatch, 'packed images'):
            meta = read_meta(self.target) or new
            if (meta.settings, meta.listing) != (self.settings, new.listing):
                raise DatasetError(
                    f'{self.target} was begun with other images or settings: {meta.count} images, '
                    f'{meta.settings}. Give the same arguments, or another target.'
                )
            if meta.lists and not meta.bad:
                return open_meta(self.target)
            new.write(self.target)
            for rest in self.target.glob('.*.tmp'):  # of a run that was killed
                rest.unlink()
            try:
                return self._finish(new, self._shards())
            except OSError as error:
                raise DatasetError(
                    f'{self.target}: cannot be written ({error}). The shards that are written are '
                    'safe: make room and run the same command again.'
                ) from error

    def _shards(self) -> list[dict[str, Any]]:
        """Pack the shards that are lacking; return the notes on all of them."""
        size, total = self.settings.per_shard, len(self.keys)
        parts = [self.keys[at : at + size] for at in range(0, total, size)]
        found = {int(p.stem[6:]): read_json(str(p)) for p in self.target.glob('shard-*.json')}
        # What was unreadable may have been restored.
        notes = {number: note for number, note in found.items() if not note['bad']}
        lacking = [number for number in range(len(parts)) if number not in notes]
        left = sum(len(parts[number]) for number in lacking)
        need, free = left * self._mean_size() / 1e9, shutil.disk_usage(self.target).free / 1e9
        text = f'about {need:.3g} GB, and {free:.3g} GB are free'
        if need > free:
            raise DatasetError(
                f'{self.target}: the disk is too small: {left} images take {text}. Take another '
                'disk, --format jpeg, or a smaller --short-side.'
            )
        self.report(f'packing {text}', total - left, total)
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                jobs = [pool.submit(self._pack, number, parts[number]) for number in lacking]
                for job in as_completed(jobs):
                    notes |= [job.result()]
                    bad = [': '.join(one) for note in notes.values() for one in note['bad'].items()]
                    if len(bad) > self.max_bad:
                        raise DatasetError(
                            f'{len(bad)} images cannot be read, and --max-bad is {self.max_bad}. '
                            'Restore them and run the same command again.\n' + '\n'.join(bad[:20])
                        )
                    self.report(f'packing {text}', sum(len(parts[n]) for n in notes), total)
            finally:
                pool.shutdown(cancel_futures=True)
        return [notes[number] for number in range(len(parts))]

    def _mean_size(self) -> float:
        """Return how many bytes an image takes, by the mean of a few."""
        sizes = []
        for key in self.keys[:: -(-len(self.keys) // 32)]:
            with suppress(BadImage, OSError):
                data = pack_picture(self.storage.read(key), key, self.settings)[0]
                sizes.append((2 + len(data) // _BLOCK) * _BLOCK)
        return sum(sizes) / max(1, len(sizes))

    def _pack(self, number: int, keys: Sequence[str]) -> tuple[int, dict[str, Any]]:
        """Write a shard and the note on it."""
        path = self.target / f'shard-{number:06d}.tar'
        ending = '.ppm' if self.settings.format == 'raw' else '.jpg'
        rows, names, bad = [], set(), {}
        with atomic_path(path) as temporary, tarfile.open(temporary, 'w') as tar:
            for key in keys:
                try:
                    data = self.storage.read(key)
                    data, height, width = pack_picture(data, key, self.settings)
                except (BadImage, OSError) as error:
                    bad[key] = str(error)
                    rows.append((0, 0, 0, 0))
                    continue
                # Of a.jpg and a.png in one folder the second keeps its whole name.
                name = os.path.splitext(key)[0] + ending
                info = tarfile.TarInfo(key + ending if name in names else name)
                names.add(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                rows.append((tar.offset + -len(data) // _BLOCK * _BLOCK, len(data), height, width))
        note = {'rows': rows, 'bad': bad, 'shard': _describe(path, len(rows) - len(bad))}
        write_json(path.with_suffix('.json'), note)
        return number, note

    def _finish(self, meta: PackedMeta, notes: Sequence[dict[str, Any]]) -> PackedMeta:
        rows = np.zeros((6, len(self.keys)), np.uint64)
        rows[0] = [key_hash(key) for key in self.keys]
        rows[1] = np.arange(len(self.keys)) // self.settings.per_shard
        rows[2:] = np.concatenate([np.array(note['rows'], np.uint64) for note in notes]).T
        with atomic_path(self.target / ROWS) as temporary, open(temporary, 'wb') as file:
            np.save(file, rows[:, np.argsort(rows[0])])
        atomic_write(self.target / KEYS, '\n'.join(self.keys).encode())
        meta = replace(
            meta,
            small=int((rows[4:, rows[3] > 0].min(0) < self.settings.short_side).sum()),
            bad={key: why for note in notes for key, why in note['bad'].items()},
            shardlist=[note['shard'] for note in notes],
            lists=[_describe(self.target / name, len(self.keys)) for name in (ROWS, KEYS)],
        )
        meta.write(self.target)
        for path in () if meta.bad else self.target.glob('shard-*.json'):
            path.unlink()
        return meta
