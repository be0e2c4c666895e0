"""Reading images, with a budget for bad ones."""

import os
import tempfile
import uuid
import weakref
from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from mmengine.fileio import get
from mmengine.logging import print_log

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import TRANSFORMS

from .base import Transform
from .jpeg import LEFT_OVER, Header, decode_strictly, is_whole, read_header, suits_gpu

Image = TypeVar('Image')
JPEG, _PNG = b'\xff\xd8', b'\x89PNG'
# Files that may hold 16 bits a value: TIFF, PGM, PPM.
_DEEP = (b'II*\0', b'MM\0*', b'P5', b'P6')


class BadImage(Exception):
    """An image that cannot be decoded; the message is the reason."""


def read_bytes(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file of the disk, or of mmengine's storage backend."""
    return Path(path).read_bytes() if backend_args is None else get(path, backend_args=backend_args)


def check_whole(data: bytes) -> None:
    """Refuse a file that ends too early, which decoders fill up with grey."""
    if not data:
        raise BadImage('zero bytes')
    if data.startswith(JPEG):
        whole = is_whole(data)
    elif data.startswith(_PNG):
        whole = data.rfind(b'IEND') > 0
    elif data.startswith(b'RIFF'):
        whole = len(data) >= int.from_bytes(data[4:8], 'little') + 8
    elif data.startswith(b'BM'):
        whole = len(data) >= int.from_bytes(data[2:6], 'little')
    else:
        return
    if not whole:
        raise BadImage(f'truncated after {len(data)} bytes')


def decode(
    data: bytes | np.ndarray, color: str = 'bgr', exif: bool = True, path: str | None = None
) -> np.ndarray:
    """Decode an image of any mode to uint8 [H, W, 3], or take RGB; transparency is dropped.

    A doubt about an image that can be read is logged, or, without ``path``, raised as BadImage.
    """
    if isinstance(data, np.ndarray):
        return data if color == 'rgb' else cv2.cvtColor(data, cv2.COLOR_RGB2BGR)
    check_whole(data)
    flag = cv2.IMREAD_COLOR
    header = read_header(data) if data.startswith(JPEG) else None
    if header is not None:
        try:
            pixels = decode_strictly(data, header, color, exif)
            if pixels is not None:
                return pixels
        except ValueError as error:
            if not (path and LEFT_OVER.match(str(error))):
                raise BadImage(f'damaged ({error})') from error
            _tell_once(f'image {path}: possibly damaged ({error})')
    elif data.startswith(_DEEP) or (data.startswith(_PNG) and data[24:25] == b'\x10'):
        flag |= cv2.IMREAD_ANYDEPTH
    if not exif:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise BadImage(f'not decodable ({error.err})') from error
    if image is None:
        raise BadImage('not an image, or damaged')
    if image.dtype == np.uint16:
        image = _eight_bits(image)
    elif image.dtype != np.uint8:
        raise BadImage(f'has values of the type {image.dtype}; write 8 or 16 bits')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if color == 'rgb' else image


def once(results: dict, key: Hashable, make: Callable[[], Image]) -> Image:
    """Make something of an image; once, where the image comes again."""
    kept = results.get('repeats', {})
    if key not in kept:
        kept[key] = make()
    return kept[key]


@lru_cache
def _tell_once(text: str) -> None:
    print_log(text, logger='current', level=30)


def _eight_bits(image: np.ndarray) -> np.ndarray:
    """Take the upper eight of 16 bits; refuse what would be black, as a camera's 12 bits are."""
    top = int(image.max())
    if 0 < top < 4096:
        raise BadImage(
            f'has 16 bits a value but none above {top}, and would be read as nearly black; '
            f'multiply it by {2 ** (16 - top.bit_length())}, or write 8 bits'
        )
    return (image >> 8).astype(np.uint8)


def check_listed_size(results: dict, shape: tuple[int, int]) -> None:
    """Refuse an image whose size (height, width) is not that which its annotations are for."""
    listed, found = (results.get('width'), results.get('height')), shape[::-1]
    if 'instances' in results and None not in listed and listed != found:
        raise DatasetError(
            f'{results["img_path"]}: the image has {found[0]} x {found[1]} pixels, its '
            f'annotations are for {listed[0]} x {listed[1]}. Take the images that were '
            'annotated, or write annotations for these (images are turned upright by their '
            'EXIF entry).'
        )


def _remove(path: str, owner: int) -> None:
    """Remove the list of bad files, in the process that made it."""
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)


class ImageReader(Transform):
    """Reads image files and keeps the budget of bad ones.

    A missing, empty, truncated or damaged file is named in a warning with the reason, and the
    dataset takes another sample instead. So is a JPEG of which libjpeg says that a part is lost
    (where simplejpeg is installed), and a picture of 16 bits whose upper four are empty. When more
    than ``max_bad`` different files of this process and its workers have been bad, an error lists
    them. In test mode the first one is an error, as a sample left out would falsify the result.

    Where the dataset puts an object under 'storage', the file comes from its ``read(img_path)``,
    or, where it has ``pixels(img_path)`` and that is not None, as pixels, RGB, uint8 [H, W, 3].
    """

    exif: bool
    color = 'rgb'
    called = ''
    """What the config calls the thing that takes ``max_bad``, if not this class."""

    def __init__(self, max_bad: int = 0, backend_args: dict | None = None) -> None:
        if max_bad < 0:
            raise ValueError(f'max_bad must not be negative, got {max_bad}')
        self.max_bad = max_bad
        self.backend_args = backend_args
        # Workers share the list of bad files through a file of this name; it is made when the
        # first one is found, so that copies of the transform, forked or pickled, agree.
        name = f'lightvit_bad_images_{os.getpid()}_{uuid.uuid4().hex}'
        self._ledger = os.path.join(tempfile.gettempdir(), name)
        # Bound to this object alone: a copy that goes must not take the file with it.
        weakref.finalize(self, _remove, self._ledger, os.getpid())

    def bad_files(self) -> dict[str, str]:
        """Return the bad files found so far and the reasons."""
        if not os.path.exists(self._ledger):
            return {}
        lines = Path(self._ledger).read_text(encoding='utf-8', errors='surrogateescape')
        return dict(line.split('\t', 1) for line in lines.splitlines() if '\t' in line)

    def _note(self, path: str, reason: str, must_load: bool) -> None:
        """Count a bad file; raise when it is one too many."""
        known = self.bad_files()
        if path not in known:
            line = f'{path}\t{reason}\n'.encode(errors='surrogateescape')
            # A short append is atomic, so that workers do not mix their lines.
            handle = os.open(self._ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
            known = self.bad_files()
            text = f'bad image {path}: {reason} ({len(known)} so far, max_bad={self.max_bad})'
            print_log(text, logger='current', level=30)
        if len(known) <= self.max_bad and not must_load:
            return
        listed = '\n'.join(f'  {name}: {why}' for name, why in list(known.items())[:20])
        more = f'\n  ... and {len(known) - 20} more' if len(known) > 20 else ''
        limit = 'none may be left out in test mode' if must_load else f'max_bad={self.max_bad}'
        raise DatasetError(
            f'{len(known)} image(s) cannot be read ({limit}):\n{listed}{more}\n'
            'Restore these files, or take them out of the data; while training, max_bad of '
            f'{self.called or "lightvit_dense." + type(self).__name__} tolerates that many.'
        )

    def _fetch(self, path: str, storage: Any) -> Any:
        """Return the pixels, if the storage has them, or the file."""
        if storage is None:
            return read_bytes(path, self.backend_args)
        pixels = getattr(storage, 'pixels', None)
        found = None if pixels is None else pixels(path)
        return storage.read(path) if found is None else found

    def read(self, results: dict, make: Callable[[Any], Image]) -> Image | None:
        """Read the file, bytes or pixels, and make an image of it."""
        path, storage = results['img_path'], results.get('storage')
        try:
            return make(once(results, 'file', lambda: self._fetch(path, storage)))
        except FileNotFoundError as error:
            reason = 'does not exist' if storage is None else str(error)
        except (BadImage, OSError) as error:
            reason = str(error)
        self._note(str(path), reason, results.get('must_load', False))
        return None

    def plain_header(self, data: Any) -> Header | None:
        """Return the header of a JPEG file, unless EXIF's entry turns it."""
        header = read_header(data) if isinstance(data, bytes) and data.startswith(JPEG) else None
        return None if header and self.exif and header.orientation != 1 else header

    def whole(self, results: dict, encoded: bool = False) -> np.ndarray | None:
        """Return a whole image, uint8 [H, W, 3]; ``encoded``: its file if a GPU can decode it."""
        return self.read(results, lambda data: self._whole(data, results, encoded))

    def _whole(self, data: Any, results: dict, encoded: bool = False) -> np.ndarray:
        def make() -> tuple[np.ndarray, tuple[int, ...]]:
            header = self.plain_header(data) if encoded else None
            if header and suits_gpu(data, header):
                check_whole(data)
                return np.frombuffer(data, np.uint8), header[:2]
            image = decode(data, self.color, self.exif, str(results['img_path']))
            return image, image.shape[:2]

        image, results['ori_shape'] = once(results, 'whole', make)
        return image


@TRANSFORMS.register_module()
class LoadImage(ImageReader):
    """Load an image from 'img_path' as mmcv's ``LoadImageFromFile`` does, but for bad images.

    They are passed over within a budget, see :class:`ImageReader`.

    Args:
        max_bad: How many different bad files to tolerate.
        color: Order of the channels, 'bgr' (mmdet's convention) or 'rgb'.
        exif: Whether the EXIF entry turns images upright, as mmcv and detectron2 do; torchvision
            and timm, and so the authors' classification, leave them as they are stored.
        backend_args: mmengine's storage backend; None reads local files.
    """

    def __init__(
        self,
        max_bad: int = 0,
        color: str = 'bgr',
        to_float32: bool = False,
        exif: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(max_bad, backend_args)
        if color not in ('bgr', 'rgb'):
            raise ValueError(f"color must be 'bgr' or 'rgb', got {color!r}")
        self.color = color
        self.to_float32 = to_float32
        self.exif = exif

    def transform(self, results: dict) -> dict | None:
        """Set 'img' (uint8 [H, W, 3]) and its sizes; None for a bad image that is tolerated."""
        image = self.whole(results)
        if image is None:
            return None
        if 'repeats' in results:
            image = image.copy()  # transforms may write into it
        check_listed_size(results, image.shape[:2])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape']
        return results
