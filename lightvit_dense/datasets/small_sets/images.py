"""A small image set in memory, and on disk as folders of PNG files in ImageNet's layout."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import DatasetError
from ..subsets import balanced_subset

INFO = 'info.json'
_FORMAT = 1  # raised when other files would be written from the same images
Part = tuple[np.ndarray, np.ndarray]


class SmallSetError(DatasetError):
    """A small set whose source is missing or damaged; the message tells how to get it."""


@dataclass(frozen=True)
class SmallSet:
    """Grey images with labels, in two parts."""

    name: str
    classes: tuple[str, ...]  # names in the order of the labels; they become folders
    train: Part  # uint8 images [N, H, W] and their labels int64 [N]
    val: Part  # the same of the part that is measured on
    split: str  # where the two parts come from
    origin: str
    licence: str  # on what terms

    def digest(self) -> str:
        """Return a SHA-256 of all images, labels and words."""
        hashed = hashlib.sha256()
        for images, labels in (self.train, self.val):
            hashed.update(repr(images.shape).encode())
            hashed.update(images.tobytes())
            hashed.update(labels.astype('<i8').tobytes())
        for words in (self.name, *self.classes, self.split, self.origin, self.licence):
            hashed.update(words.encode() + b'\0')
        return hashed.hexdigest()


def stratified_split(
    images: np.ndarray, labels: np.ndarray, share: float, seed: int = 0
) -> tuple[Part, Part]:
    """Put the same share of every class aside; images [N, H, W], labels [N]."""
    aside = np.zeros(len(labels), bool)
    aside[balanced_subset(labels, share, seed)] = True
    return (images[~aside], labels[~aside]), (images[aside], labels[aside])


@dataclass(frozen=True)
class SetReport:
    """What is there now."""

    root: Path
    built: bool  # whether it was written now; else it was there
    counts: dict[str, int]  # images of each part


def write_set(
    data: SmallSet, out: str | Path, report: Callable[[int, int], None] | None = None
) -> SetReport:
    """Write ``<out>/<name>/{train,val}/<class>/<number>.png``, lists, classes and licence.

    The folder appears when it is whole. One that holds the same images already is left as it is,
    one of other images is replaced; a folder that is not ours is an error. ``report`` is told
    (images written, images in all) now and then.
    """
    root = Path(out) / data.name
    parts = {'train': data.train, 'val': data.val}
    counts = {name: len(labels) for name, (_, labels) in parts.items()}
    info = {
        'format': _FORMAT,
        'sha256': data.digest(),
        'images': counts,
        'classes': list(data.classes),
        'split': data.split,
        'origin': data.origin,
        'licence': data.licence,
    }
    if root.exists():
        known = _read_info(root)
        if known is None:
            raise SmallSetError(
                f'{root}: exists and holds no {INFO}, so it was not written by this tool. Move it '
                'away or choose another --out.'
            )
        there = {part: sum(1 for _ in (root / part).glob('*/*.png')) for part in counts}
        if (known, there) == (info, counts) and (root / 'classes.txt').is_file():
            return SetReport(root, False, counts)
    draft = root.with_name(f'.{data.name}.partial')
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write_images(draft, data, report or (lambda done, total: None))
        (draft / 'classes.txt').write_text(''.join(f'{name}\n' for name in data.classes))
        (draft / 'README.txt').write_text(
            f'{data.name}: {counts["train"]} training and {counts["val"]} validation images.\n'
            f'Split: {data.split}.\nOrigin: {data.origin}.\nLicence: {data.licence}.\n'
        )
        (draft / INFO).write_text(json.dumps(info, indent=2) + '\n', encoding='utf-8')
        if root.exists():
            shutil.rmtree(root)
        os.replace(draft, root)
    except OSError as error:
        raise SmallSetError(f'{draft}: cannot be written: {error}') from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return SetReport(root, True, counts)


def _read_info(root: Path) -> dict | None:
    try:
        found = json.loads((root / INFO).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and 'sha256' in found else None


def _write_images(root: Path, data: SmallSet, report: Callable[[int, int], object]) -> None:
    """Write the images of both parts and their lists ``<part>.txt``."""
    total, done = len(data.train[1]) + len(data.val[1]), 0
    for part, (images, labels) in (('train', data.train), ('val', data.val)):
        for name in data.classes:
            (root / part / name).mkdir(parents=True)
        lines = []
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            key = f'{part}/{data.classes[label]}/{number:05d}.png'
            (root / key).write_bytes(cv2.imencode('.png', image)[1].tobytes())
            lines.append(f'{key} {label}\n')
            done += 1
            if done % 2000 == 0 or done == total:
                report(done, total)
        (root / f'{part}.txt').write_text(''.join(lines))
