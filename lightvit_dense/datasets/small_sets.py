"""Small labelled sets that packages carry (digits, Fashion-MNIST), in ImageNet's layout."""

import gzip
import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .errors import DatasetError
from .subsets import balanced_subset

Part = tuple[np.ndarray, np.ndarray]


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

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each part."""
        return {'train': len(self.train[1]), 'val': len(self.val[1])}


def write_set(data: SmallSet, out: str | Path) -> bool:
    """Write ``<out>/<name>/{train,val}/<class>/<number>.png``, lists, classes and licence.

    The folder appears when it is whole. One that holds the set already is left as it is, and False
    returned; an incomplete one is replaced; a folder that is not ours is an error.
    """
    root = Path(out) / data.name
    words = {'split': data.split, 'origin': data.origin, 'licence': data.licence}
    info = {'images': data.counts, 'classes': list(data.classes), **words}
    if root.exists():
        if not (root / 'info.json').is_file():
            raise DatasetError(
                f'{root}: exists and holds no info.json, so it was not written by this tool. Move '
                'it away or choose another --out.'
            )
        there = {part: sum(1 for _ in (root / part).glob('*/*.png')) for part in data.counts}
        if there == data.counts and json.loads((root / 'info.json').read_text()) == info:
            return False
    draft = root.with_name(f'.{data.name}.partial')
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for part in ('train', 'val'):
            _write_images(draft, part, data)
        (draft / 'classes.txt').write_text(''.join(f'{name}\n' for name in data.classes))
        (draft / 'info.json').write_text(json.dumps(info, indent=2) + '\n')
        shutil.rmtree(root, ignore_errors=True)
        os.replace(draft, root)
    except OSError as error:
        raise DatasetError(f'{draft}: cannot be written: {error}') from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def _write_images(root: Path, part: str, data: SmallSet) -> None:
    """Write the images of a part and their list ``<part>.txt``."""
    for name in data.classes:
        (root / part / name).mkdir(parents=True)
    images, labels = getattr(data, part)
    lines = []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        key = f'{part}/{data.classes[label]}/{number:05d}.png'
        (root / key).write_bytes(cv2.imencode('.png', image)[1].tobytes())
        lines.append(f'{key} {label}\n')
    (root / f'{part}.txt').write_text(''.join(lines))


def _split(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Put a fifth of every class aside; images [N, H, W], labels [N]."""
    aside = np.zeros(len(labels), bool)
    aside[balanced_subset(labels, 0.2, 0)] = True
    return {
        'train': (images[~aside], labels[~aside]),
        'val': (images[aside], labels[aside]),
        'split': '20% of every class put aside by a fixed seed; ours',
    }


def _read_file(package: str, folder: str, name: str, source: Path | None) -> bytes:
    """Read a file of a Debian package that is installed in ``folder``, or lies in ``source``."""
    places = [Path(folder)] if source is None else [source, source / folder.lstrip('/')]
    found = [place / name for place in places if (place / name).is_file()]
    remedy = (
        f'Install the package: `apt-get install {package}`. Or, without root, `apt-get download '
        f'{package}`, unpack it by `dpkg-deb -x PACKAGE.deb FOLDER`, and name the folder with '
        '--source.'
    )
    if not found:
        raise DatasetError(f'{places[0]}: {name} not found. {remedy}')
    data = found[0].read_bytes()
    try:
        return gzip.decompress(data) if data.startswith(b'\x1f\x8b') else data
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f'{found[0]}: is damaged ({error}). {remedy}') from error


_NUMBERS = tuple(f'digit-{number}' for number in range(10))


def read_digits(source: Path | None = None) -> SmallSet:
    """Return scikit-learn's digits: 1797 of 8x8 pixels, 17 grey levels."""
    from sklearn.datasets import load_digits

    if source is not None:
        raise DatasetError('digits are part of scikit-learn: give no --source for them')
    images, labels = load_digits(return_X_y=True)
    # [N, 64] of 0..16 -> [N, 8, 8] of 0..255
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return SmallSet(
        'digits',
        _NUMBERS,
        **_split(grey, labels.astype(np.int64)),
        origin='the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak '
        '1998, UCI repository), as scikit-learn carries it',
        licence='CC BY 4.0 (UCI repository); scikit-learn: BSD-3-Clause',
    )


def read_opencv_digits(source: Path | None = None) -> SmallSet:
    """Return OpenCV's digits: 5000 of 20x20 pixels; a writer may be in both parts."""
    folder = '/usr/share/doc/opencv-doc/examples/data'
    data = _read_file('opencv-doc', folder, 'digits.png', source)
    sheet = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if sheet is None or sheet.shape != (1000, 2000):
        raise DatasetError('digits.png: is no picture of 2000x1000 pixels, so it is damaged')
    # [50 rows, 20, 100 columns, 20] -> [5000, 20, 20], row by row
    images = sheet.reshape(50, 20, 100, 20).swapaxes(1, 2).reshape(-1, 20, 20)
    return SmallSet(
        'opencv-digits',
        _NUMBERS,
        **_split(images, np.repeat(np.arange(10), 500)),
        origin="samples/data/digits.png of OpenCV's documentation (Debian: opencv-doc)",
        licence='Apache-2.0 or BSD-3-Clause (see the copyright file of opencv-doc)',
    )


def read_fashion_mnist(source: Path | None = None) -> SmallSet:
    """Return Fashion-MNIST: 60 000 and 10 000 images of 28x28 pixels, ten balanced classes."""
    classes = 't-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot'
    return SmallSet(
        'fashion-mnist',
        tuple(classes.split()),
        _read_mnist('train', source),
        _read_mnist('t10k', source),
        'as published',
        'Fashion-MNIST (Xiao, Rasul and Vollgraf 2017; Debian: dataset-fashion-mnist)',
        'MIT, Zalando SE',
    )


def _read_mnist(part: str, source: Path | None) -> Part:
    """Read the images and labels of a part in MNIST's IDX format, with 16 and 8 bytes of header."""
    package, folder = 'dataset-fashion-mnist', '/usr/share/datasets/fashion-mnist'
    images, labels = (
        np.frombuffer(_read_file(package, folder, f'{part}-{kind}-ubyte.gz', source), np.uint8)
        for kind in ('images-idx3', 'labels-idx1')
    )
    images, labels = images[16:], labels[8:].astype(np.int64)
    if len(images) != len(labels) * 28 * 28 or labels.max(initial=0) > 9:
        raise DatasetError(f'{part}: images and labels do not belong together. Fetch them again.')
    return images.reshape(-1, 28, 28), labels


SOURCES: Mapping[str, Callable[[Path | None], SmallSet]] = {
    'digits': read_digits,
    'opencv-digits': read_opencv_digits,
    'fashion-mnist': read_fashion_mnist,
}
"""Readers of the sets by name; each takes where its package lies."""
