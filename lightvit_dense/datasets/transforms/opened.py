"""An image file of which the size is known, and pixels are decoded when they are asked for."""

from contextlib import suppress

import numpy as np

from .jpeg import Box, choose_decoder, decode_window, read_header
from .loading import JPEG, check_whole, decode


class OpenedImage:
    """An image file (or RGB or grey pixels, uint8) whose header has been read.

    Of a JPEG that EXIF does not turn, windows are decoded, and damage outside of them goes
    unnoticed. Any other file is decoded at once. Raises BadImage as :func:`decode` does.
    """

    def __init__(self, data: bytes | np.ndarray, path: str | None = None) -> None:
        self.data, self.path = data, path
        self.pixels = data if isinstance(data, np.ndarray) else None
        if isinstance(data, bytes):
            check_whole(data)
            self.header = read_header(data) if data.startswith(JPEG) else None
            if self.header is not None and self.header.orientation == 1:
                self.shape = self.header[:2]
                return
            self.pixels = decode(data, 'rgb', path=path)
        self.shape = self.pixels.shape[:2]

    def window(self, box: Box) -> np.ndarray:
        """Return (left, top, right, bottom) of the image."""
        (left, top, right, bottom), (height, width) = box, self.shape
        if self.pixels is None and box != (0, 0, width, height):
            # A rare kind (CMYK, 12 bits, ...), or damaged: LoadImage's decoder has the last word.
            with suppress(ValueError):
                return decode_window(self.data, self.header, box, 1, choose_decoder())
        if self.pixels is None:
            self.pixels = decode(self.data, 'rgb', path=self.path)
        return self.pixels[top:bottom, left:right]
