"""The TurboJPEG library, version 3, where the system has it: only a region of a file is decoded."""

import ctypes
import ctypes.util
import os
import threading
from functools import lru_cache

import numpy as np

_DECOMPRESS, _RGB, _SUBSAMPLING, _FAST_UPSAMPLE, _WARNING = 1, 0, 4, 9, 0
_BLOCK_WIDTHS = (8, 16, 16, 8, 8, 32, 8)  # of 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1
_LOCAL = threading.local()


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ('x', 'y', 'width', 'height')]


class _Factor(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ('numerator', 'denominator')]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Load the library; None where the system has none, ``LIGHTVIT_TURBOJPEG`` names its file."""
    path = os.environ.get('LIGHTVIT_TURBOJPEG') or ctypes.util.find_library('turbojpeg')
    if not path:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    file = [pointer, ctypes.c_char_p, ctypes.c_size_t]
    arguments = {
        'tj3Init': [number],
        'tj3Get': [pointer, number],
        'tj3Set': [pointer, number, number],
        'tj3GetErrorCode': [pointer],
        'tj3SetScalingFactor': [pointer, _Factor],
        'tj3SetCroppingRegion': [pointer, _Region],
        'tj3DecompressHeader': file,
        'tj3Decompress8': [*file, pointer, number, number],
    }
    try:
        found = ctypes.CDLL(path)
        for name, types in arguments.items():  # 2.x lacks them
            getattr(found, name).argtypes = types
    except (OSError, AttributeError):
        return None
    found.tj3Init.restype = pointer
    return found


def decode_window(
    data: bytes, size: tuple[int, int], box: tuple[int, int, int, int], reduce: int, smooth: bool
) -> np.ndarray:
    """Decode a window of an image of ``size`` (height, width), as ``jpeg.decode_window`` says."""
    tj = library()
    assert tj is not None
    if not hasattr(_LOCAL, 'handle'):
        _LOCAL.handle = tj.tj3Init(_DECOMPRESS)
    handle = _LOCAL.handle
    reset = tj.tj3SetCroppingRegion(handle, _Region(0, 0, 0, 0))
    if reset or tj.tj3DecompressHeader(handle, data, len(data)):
        raise ValueError('unreadable header')
    tj.tj3SetScalingFactor(handle, _Factor(1, reduce))
    tj.tj3Set(handle, _FAST_UPSAMPLE, int(not smooth))
    kind = tj.tj3Get(handle, _SUBSAMPLING)
    left, top, right, bottom = 0, 0, -(-size[1] // reduce), -(-size[0] // reduce)
    if 0 <= kind < len(_BLOCK_WIDTHS):
        # A region starts at a block. Chroma is smoothed across its sides: one block, or two
        # columns, more than wanted keeps the wanted ones as they are in the whole image.
        step = -(-_BLOCK_WIDTHS[kind] // reduce)
        left = max(0, box[0] // step - 1) * step
        top, right, bottom = box[1], min(right, box[2] + 2), box[3]
        if tj.tj3SetCroppingRegion(handle, _Region(left, top, right - left, bottom - top)):
            raise ValueError('cannot set the region')
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    target, stride = pixels.ctypes.data, pixels.strides[0]
    failed = tj.tj3Decompress8(handle, data, len(data), target, stride, _RGB)
    if failed and tj.tj3GetErrorCode(handle) != _WARNING:
        raise ValueError('not decodable')
    return pixels[box[1] - top : box[3] - top, box[0] - left : box[2] - left]
