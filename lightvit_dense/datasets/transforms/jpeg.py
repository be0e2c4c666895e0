"""The header of a JPEG file, and the cheapest way to the pixels of a part of it.

All decoders give the same pixels, for all are libjpeg-turbo with its exact transform and smooth
chroma; they differ in what they leave out. ``turbojpeg`` (version 3 of the library, which conda
and Homebrew install as libjpeg-turbo) transforms no row and no column outside the window,
``simplejpeg`` does not read the rows below it, ``cv2``, which is always there, decodes all.
"""

import re
from importlib.util import find_spec
from typing import NamedTuple

import cv2
import numpy as np

from . import turbojpeg

# Start-of-frame markers carry the size; C4, C8 and CC are other segments.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SAMPLINGS = b'\x11\x21\x22\x12\x41'  # of Y, across and down: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1
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

# What libjpeg says of files that lack a part of the picture; the second of complete ones, too. Odd
# scan parameters (of some telephones) and damaged colour profiles leave the picture whole.
_LOST = re.compile(
    r'(?!Invalid SOS parameters|Corrupt JPEG data: bad ICC)'
    r'(Corrupt|Premature|Inconsistent|Invalid|Bogus|Unsupported marker|.*not defined)'
)
LEFT_OVER = re.compile(r'Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9')


class Header(NamedTuple):
    """What the header of a JPEG file tells."""

    height: int  # as stored, before the EXIF entry turns the picture
    width: int
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


def suits_gpu(data: bytes, header: Header) -> bool:
    """Whether nvJPEG decodes a file as libjpeg does: no rare kind, 8 bits, grey or YCbCr."""
    # The kind of frame, its length, bits, height, width, components; of each name, factors, table.
    frame = data[header.frame - 4 : header.frame + 14]
    if len(frame) < 18 or frame[0] not in (0xC0, 0xC2) or frame[3] != 8 or frame[8] not in (1, 3):
        return False
    adobe = data.find(b'\xff\xee\0\x0eAdobe', 0, header.frame)  # its last byte is 1 for YCbCr
    is_rgb = frame[9:16:3] == b'RGB' or (adobe > 0 and data[adobe + 15] != 1)
    usual = frame[10] in _SAMPLINGS and frame[13] == frame[16] == 0x11
    return frame[8] == 1 or (usual and not is_rgb)


def is_whole(data: bytes) -> bool:
    """Whether a JPEG file goes on to the end mark of its picture, not of a thumbnail or video."""
    if data.endswith(b'\xff\xd9'):
        return True
    codes = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(codes[:-1] == 0xFF) + 1
    kinds = codes[places]
    # FF 00 is a value, FF FF none, FF D0 to D7 marks within the values; all others have a length.
    places = places[(kinds != 0) & (kinds != 0xFF) & (kinds & 0xF8 != 0xD0)]
    place = 2
    while (number := int(np.searchsorted(places, place))) < len(places):
        place = int(places[number])
        if codes[place] == 0xD9:
            return True
        place += 1 + int.from_bytes(data[place + 1 : place + 3], 'big')
    return False


def available(decoder: str) -> bool:
    """Whether a decoder of ``DECODERS`` is installed."""
    if decoder == 'turbojpeg':
        return turbojpeg.library() is not None
    return find_spec(decoder) is not None


_ABSENT = {
    'turbojpeg': 'the TurboJPEG library, version 3 or newer: install libjpeg-turbo (conda, '
    'Homebrew, or its own packages), or name the file in LIGHTVIT_TURBOJPEG',
    'simplejpeg': 'simplejpeg: pip install simplejpeg',
}


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

    ``box`` is (left, top, right, bottom) in pixels of the image reduced by 1, 2, 4 or 8, whose
    sides are rounded up. ``smooth`` interpolates chroma of half the resolution, as cv2 always does.
    Returns RGB, uint8 [bottom-top, right-left, 3], a view of a larger array. A ValueError says that
    the decoder does not know what to do with the file.
    """
    if decoder == 'turbojpeg':
        size = header.height, header.width
        return turbojpeg.decode_window(data, size, box, reduce, smooth)
    if decoder == 'simplejpeg':
        pixels = _by_simplejpeg(data, header, box[3], reduce, smooth)
    else:
        flags = REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION
        whole = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if whole is None:
            raise ValueError('not decodable')
        pixels = whole if reduce == 1 else cv2.cvtColor(whole, cv2.COLOR_BGR2RGB)
    if pixels.shape[0] < box[3] or pixels.shape[1] < box[2]:
        raise ValueError(f'{decoder} cannot decode {header}')
    return pixels[box[1] : box[3], box[0] : box[2]]


def decode_strictly(data: bytes, header: Header, color: str, exif: bool) -> np.ndarray | None:
    """Decode a whole file by simplejpeg, the one decoder that tells what libjpeg says of it.

    Returns uint8 [H, W, 3]; None without it, or for a kind of file that it does not know. A
    ValueError has libjpeg's words, of a damaged file, or one that ``LEFT_OVER`` matches.
    """
    if not available('simplejpeg'):
        return None
    import simplejpeg

    try:
        pixels = simplejpeg.decode_jpeg(data, color.upper(), strict=True)
    except ValueError as error:
        if _LOST.match(str(error)):
            raise
        return None
    turn = header.orientation if exif else 1
    if turn > 4:
        pixels = pixels.transpose(1, 0, 2)
    down, across = (-1 if turn in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::down, ::across])


def _by_simplejpeg(
    data: bytes, header: Header, bottom: int, reduce: int, smooth: bool
) -> np.ndarray:
    import simplejpeg

    # A file that claims fewer rows is read no further than their blocks. Two rows more have the row
    # of chroma that the last wanted one is smoothed with.
    rows = min(header.height, bottom * reduce + 2)
    if rows < header.height:
        place = header.frame
        data = b''.join((data[:place], rows.to_bytes(2, 'big'), data[place + 2 :]))
    sides = (0, 0) if reduce == 1 else (-(-rows // reduce), -(-header.width // reduce))
    # What is left over at the end of a shortened file makes a warning, hence not strict.
    return simplejpeg.decode_jpeg(
        data, 'RGB', fastupsample=not smooth, min_height=sides[0], min_width=sides[1], strict=False
    )
