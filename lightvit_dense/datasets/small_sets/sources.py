"""The small sets: scikit-learn's digits; out of Debian packages OpenCV's, and Fashion-MNIST."""

import gzip
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .images import SmallSet, SmallSetError, stratified_split


@dataclass(frozen=True)
class DebianFiles:
    """Files of a Debian package."""

    package: str
    folder: str  # where an installation puts the files
    names: tuple[str, ...]

    def read(self, source: str | Path | None = None) -> dict[str, bytes]:
        """Return the files by name, unpacked where they are compressed by gzip."""
        place = Path(self.folder if source is None else source)
        if place.suffix == '.deb' and place.is_file():
            found = _read_deb(place, self.names)
        else:
            # The file alone, or the root of an unpacked package, will do as well.
            folders = (place, place / self.folder.lstrip('/'), place.parent)
            found = {}
            for folder in folders:
                files = {name: folder / name for name in self.names}
                if all(path.is_file() for path in files.values()):
                    found = {name: path.read_bytes() for name, path in files.items()}
                    break
        missing = [name for name in self.names if name not in found]
        if missing:
            raise SmallSetError(f'{place}: {", ".join(missing)} not found. {self.remedy()}')
        for name, data in found.items():
            if data.startswith(b'\x1f\x8b'):
                try:
                    found[name] = gzip.decompress(data)
                except (OSError, EOFError, zlib.error) as error:
                    text = f'{place}: {name} is damaged ({error}). Fetch it again.'
                    raise SmallSetError(text) from error
        return found

    def remedy(self) -> str:
        """Return how to get the files."""
        return (
            f'Run `apt-get download {self.package}` (no root needed) and name the .deb with '
            f'--source; or install the package: `apt-get install {self.package}`.'
        )


def _read_deb(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read some files of a package without unpacking the rest."""
    tool = shutil.which('dpkg-deb')
    if tool is None:
        raise SmallSetError(
            f'{path}: opening it needs dpkg-deb, which is not installed. Unpack it elsewhere by '
            '`dpkg-deb -x` and name the folder.'
        )
    found: dict[str, bytes] = {}
    command = [tool, '--fsys-tarfile', str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
                for member in archive:
                    name = member.name.rpartition('/')[2]
                    if name in names and member.isfile():
                        content = archive.extractfile(member)
                        found[name] = content.read() if content is not None else b''
                    if len(found) == len(names):
                        break
        except tarfile.TarError as error:
            raise SmallSetError(
                f'{path}: damaged or no Debian package ({error}). Fetch it again.'
            ) from error
        finally:
            process.kill()
    return found


_VAL_SHARE = 0.2
_FASHION_CLASSES = 't-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot'
_DIGITS = tuple(f'digit-{number}' for number in range(10))
_OWN_SPLIT = f'{_VAL_SHARE:.0%} of every class put aside by a fixed seed; ours'

FASHION = DebianFiles(
    'dataset-fashion-mnist',
    '/usr/share/datasets/fashion-mnist',
    tuple(
        f'{part}-{kind}-ubyte.gz'
        for part in ('train', 't10k')
        for kind in ('images-idx3', 'labels-idx1')
    ),
)
OPENCV = DebianFiles('opencv-doc', '/usr/share/doc/opencv-doc/examples/data', ('digits.png',))


def read_digits(source: str | Path | None = None) -> SmallSet:
    """Return scikit-learn's digits: 1797 of 8x8 pixels, 17 grey levels."""
    if source is not None:
        raise SmallSetError('digits are part of scikit-learn: give no --source for them')
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SmallSetError('digits need scikit-learn: pip install scikit-learn') from error
    images, labels = load_digits(return_X_y=True)
    # [N, 64] of 0..16 -> [N, 8, 8] of 0..255
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    train, val = stratified_split(grey, labels.astype(np.int64), _VAL_SHARE)
    return SmallSet(
        'digits',
        _DIGITS,
        train,
        val,
        _OWN_SPLIT,
        'the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, '
        'UCI repository), as scikit-learn carries it',
        'CC BY 4.0 (UCI repository); scikit-learn: BSD-3-Clause',
    )


def read_opencv_digits(source: str | Path | None = None) -> SmallSet:
    """Return OpenCV's digits: 5000 of 20x20 pixels, 500 a class.

    The picture has 50 rows of 100 digits, five rows a class. Who wrote which is not told, so a
    writer may be in both parts.
    """
    data = OPENCV.read(source)['digits.png']
    sheet = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if sheet is None or sheet.shape != (1000, 2000):
        found = 'no picture' if sheet is None else f'{sheet.shape[1]}x{sheet.shape[0]} pixels'
        raise SmallSetError(
            f'digits.png: 2000x1000 pixels expected, found {found}. {OPENCV.remedy()}'
        )
    # [50 rows, 20, 100 columns, 20] -> [5000, 20, 20], row by row
    images = sheet.reshape(50, 20, 100, 20).swapaxes(1, 2).reshape(-1, 20, 20)
    train, val = stratified_split(images, np.repeat(np.arange(10), 500), _VAL_SHARE)
    return SmallSet(
        'opencv-digits',
        _DIGITS,
        train,
        val,
        _OWN_SPLIT,
        "samples/data/digits.png of OpenCV's documentation (Debian: opencv-doc)",
        'Apache-2.0 or BSD-3-Clause (see the copyright file of opencv-doc)',
    )


def read_fashion_mnist(source: str | Path | None = None) -> SmallSet:
    """Return Fashion-MNIST: 60 000 and 10 000 images of 28x28 pixels, ten balanced classes."""
    files = FASHION.read(source)
    parts = []
    for part in ('train', 't10k'):
        images = read_idx(files[f'{part}-images-idx3-ubyte.gz'], f'{part}-images', 3)
        labels = read_idx(files[f'{part}-labels-idx1-ubyte.gz'], f'{part}-labels', 1)
        if len(images) != len(labels) or not len(labels) or labels.max() > 9:
            raise SmallSetError(
                f'{part}: {len(images)} images and {len(labels)} labels do not belong together. '
                f'{FASHION.remedy()}'
            )
        parts.append((images, labels.astype(np.int64)))
    return SmallSet(
        'fashion-mnist',
        tuple(_FASHION_CLASSES.split()),
        parts[0],
        parts[1],
        'as published',
        'Fashion-MNIST (Xiao, Rasul and Vollgraf 2017; Debian: dataset-fashion-mnist)',
        'MIT, Zalando SE',
    )


def read_idx(data: bytes, name: str, dims: int) -> np.ndarray:
    """Read an array of bytes in MNIST's IDX format."""
    head = 4 + 4 * dims
    if len(data) < head or data[:4] != bytes((0, 0, 8, dims)):
        raise SmallSetError(f'{name}: no IDX file of bytes in {dims} dimensions')
    shape = struct.unpack(f'>{dims}I', data[4:head])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(data) - head != expected:
        raise SmallSetError(
            f'{name}: {expected} values announced, {len(data) - head} there: damaged. Fetch it '
            'again.'
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


SOURCES: Mapping[str, Callable[[str | Path | None], SmallSet]] = {
    'digits': read_digits,
    'opencv-digits': read_opencv_digits,
    'fashion-mnist': read_fashion_mnist,
}
"""Readers of the sets by name; each takes where its package lies."""
