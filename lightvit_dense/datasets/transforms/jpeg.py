"""The header of a JPEG file, and the cheapest way to the pixels of a part of it.

Three decoders give the same pixels, for all of them are libjpeg-turbo with its exact transform and
smooth chroma; they differ in what they can leave out:

* ``turbojpeg``: the TurboJPEG library, version 3, where the system has it (conda and Homebrew
  install it as libjpeg-turbo). Rows and columns outside the window are not transformed.
* ``simplejpeg``: rows below the window are not read at all.
* ``cv2``: OpenCV, which is always there, decodes the whole image.
"""

import ctypes
import ctypes.util
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import cv2
import numpy as np

# Start-of-frame markers carry the size; C4, C8 and CC are other segments.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _SCAN, _ORIENTATION = 0xE1, 0xDA, 0x0112
_SHORT = 3  # EXIF's type of 16-bit integers
DECODERS = ('turbojpeg', 'simplejpeg', 'cv2')  # fastest first
REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
Box = tuple[int, int, int, int]


class Header(NamedTuple):
    """What the header of a JPEG file tells."""

    height: int  # height in pixels as stored, before the EXIF entry turns the picture
    width: int  # width in pixels
    orientation: int  # EXIF orientation, 1 for upright
    frame: int  # place of the height's two bytes in the file


def _orientation(exif: bytes) -> int:
    """Read the orientation from the body of an EXIF segment; 1 where there is none."""
    if not exif.startswith(b'Exif\0\0'):
        return 1
    tiff = exif[6:]
    order = {b'II': 'little', b'MM': 'big'}.get(tiff[:2])
    if order is None:
        return 1

    def number(place: int, size: int) -> int:
        return int.from_bytes(tiff[place : place + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        place = directory + 2 + 12 * entry
        if number(place, 2) == _ORIENTATION and number(place + 2, 2) == _SHORT:
            value = number(place + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def read_header(data: bytes) -> Header | None:
    """Read the header of a JPEG file; None if there is none, or no size in it."""
    place, orientation = 2, 1
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _FRAMES:
            height = int.from_bytes(data[place + 5 : place + 7], 'big')
            width = int.from_bytes(data[place + 7 : place + 9], 'big')
            return Header(height, width, orientation, place + 5) if height and width else None
        if marker == _SCAN:
            return None
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
        if marker == _APP1:
            orientation = max(orientation, _orientation(data[place + 4 : end]))
        place = end
    return None


class _Region(ctypes.Structure):
    """``tjregion`` of turbojpeg.h."""

    _fields_ = [(name, ctypes.c_int) for name in ('x', 'y', 'width', 'height')]


class _Factor(ctypes.Structure):
    """``tjscalingfactor`` of turbojpeg.h."""

    _fields_ = [('numerator', ctypes.c_int), ('denominator', ctypes.c_int)]


_DECOMPRESS, _RGB, _SUBSAMPLING, _FAST_UPSAMPLE, _WARNING = 1, 0, 4, 9, 0
_BLOCK_WIDTHS = (8, 16, 16, 8, 8, 32, 8)  # of 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1


@lru_cache(maxsize=1)
def turbojpeg() -> ctypes.CDLL | None:
    """Load the TurboJPEG library, version 3; None where the system has none.

    ``LIGHTVIT_TURBOJPEG`` names the file if it is not where the system looks.
    """
    path = os.environ.get('LIGHTVIT_TURBOJPEG') or ctypes.util.find_library('turbojpeg')
    if not path:
        return None
    try:
        library = ctypes.CDLL(path)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        library.tj3SetCroppingRegion.argtypes = [pointer, _Region]  # 2.x lacks it
    except (OSError, AttributeError):
        return None
    file: list[Any] = [pointer, ctypes.c_char_p, ctypes.c_size_t]
    library.tj3Init.restype = pointer
    library.tj3Init.argtypes = [number]
    library.tj3Get.argtypes = [pointer, number]
    library.tj3Set.argtypes = [pointer, number, number]
    library.tj3GetErrorCode.argtypes = [pointer]
    library.tj3SetScalingFactor.argtypes = [pointer, _Factor]
    library.tj3DecompressHeader.argtypes = file
    library.tj3Decompress8.argtypes = [*file, pointer, number, number]
    return library


_local = threading.local()


def _by_turbojpeg(
    data: bytes, header: Header, box: Box, reduce: int, smooth: bool
) -> tuple[np.ndarray, Box]:
    library = turbojpeg()
    assert library is not None
    if not hasattr(_local, 'handle'):
        _local.handle = library.tj3Init(_DECOMPRESS)
    handle = _local.handle
    if library.tj3SetCroppingRegion(handle, _Region(0, 0, 0, 0)):
        raise ValueError('cannot reset the region')
    if library.tj3DecompressHeader(handle, data, len(data)):
        raise ValueError('unreadable header')
    library.tj3SetScalingFactor(handle, _Factor(1, reduce))
    library.tj3Set(handle, _FAST_UPSAMPLE, int(not smooth))
    kind = library.tj3Get(handle, _SUBSAMPLING)
    height, width = -(-header.height // reduce), -(-header.width // reduce)
    left, top, right, bottom = 0, 0, width, height
    if 0 <= kind < len(_BLOCK_WIDTHS):
        # A region starts at a block. Chroma is smoothed across its sides: one block, or two
        # columns, more than wanted keeps the wanted ones as they are in the whole image.
        step = -(-_BLOCK_WIDTHS[kind] // reduce)
        left = max(0, box[0] // step - 1) * step
        top, right, bottom = box[1], min(width, box[2] + 2), box[3]
        region = _Region(left, top, right - left, bottom - top)
        if library.tj3SetCroppingRegion(handle, region):
            raise ValueError('cannot set the region')
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    pitch = pixels.strides[0]
    failed = library.tj3Decompress8(handle, data, len(data), pixels.ctypes.data, pitch, _RGB)
    if failed and library.tj3GetErrorCode(handle) != _WARNING:
        raise ValueError('not decodable')
    return pixels, (left, top, right, bottom)


def _by_simplejpeg(
    data: bytes, header: Header, box: Box, reduce: int, smooth: bool
) -> tuple[np.ndarray, Box]:
    import simplejpeg

    # A file that claims fewer rows is read no further. The 32 rows more hold any block, and with
    # it the chroma that the last wanted row is smoothed with.
    rows = min(header.height, box[3] * reduce + 32)
    if rows < header.height:
        place = header.frame
        data = b''.join((data[:place], rows.to_bytes(2, 'big'), data[place + 2 :]))
    sides = (0, 0) if reduce == 1 else (-(-rows // reduce), -(-header.width // reduce))
    # What is left over at the end of a shortened file makes a warning, hence not strict.
    pixels = simplejpeg.decode_jpeg(
        data,
        'RGB',
        fastupsample=not smooth,
        min_height=sides[0],
        min_width=sides[1],
        strict=False,
    )
    return pixels, (0, 0, pixels.shape[1], pixels.shape[0])


def _by_cv2(
    data: bytes, header: Header, box: Box, reduce: int, smooth: bool
) -> tuple[np.ndarray, Box]:
    flags = REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError('not decodable')
    if reduce > 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels, (0, 0, pixels.shape[1], pixels.shape[0])


_Decode = Callable[[bytes, Header, Box, int, bool], tuple[np.ndarray, Box]]
_DECODE: dict[str, _Decode] = {
    'turbojpeg': _by_turbojpeg,
    'simplejpeg': _by_simplejpeg,
    'cv2': _by_cv2,
}
_ABSENT = {
    'turbojpeg': 'the TurboJPEG library, version 3 or newer: install libjpeg-turbo (conda, '
    'Homebrew, or its own packages), or name the file in LIGHTVIT_TURBOJPEG',
    'simplejpeg': 'simplejpeg: pip install simplejpeg',
}


def available(decoder: str) -> bool:
    """Whether a decoder of ``DECODERS`` can be used here."""
    if decoder == 'turbojpeg':
        return turbojpeg() is not None
    return find_spec(decoder) is not None


def choose_decoder(decoder: str = 'auto') -> str:
    """Check a decoder's name; 'auto' becomes the fastest one that is installed."""
    if decoder == 'auto':
        return next(name for name in DECODERS if available(name))
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be 'auto' or one of {DECODERS}, got {decoder!r}")
    if not available(decoder):
        raise ValueError(
            f"decoder={decoder!r} needs {_ABSENT[decoder]}. decoder='auto' takes what there is."
        )
    return decoder


def decode_window(
    data: bytes,
    header: Header,
    box: Box,
    reduce: int = 1,
    decoder: str = 'cv2',
    smooth: bool = True,
) -> np.ndarray:
    """Decode a window of a JPEG file as it is stored, EXIF's orientation left alone.

    Returns:
        RGB, uint8 [bottom-top, right-left, 3], a view of a larger array.
    """
    pixels, (left, top, _, _) = _DECODE[decoder](data, header, box, reduce, smooth)
    x, y = box[0] - left, box[1] - top
    window = pixels[y : y + box[3] - box[1], x : x + box[2] - box[0]]
    if window.shape != (box[3] - box[1], box[2] - box[0], 3):
        raise ValueError(f'{decoder} gave {pixels.shape} for {header}')
    return window
