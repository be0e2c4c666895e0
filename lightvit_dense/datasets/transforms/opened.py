"""An image file of which the size is known, and pixels are decoded when they are asked for."""

from contextlib import suppress
from typing import Any

import numpy as np

from .jpeg import Box, choose_decoder, decode_window, read_header
from .loading import JPEG, check_whole, decode


class OpenedImage:
    """An image file (or RGB or grey pixels, uint8) whose header has been read.

    Windows of a JPEG that EXIF does not turn are decoded; damage outside of them goes unnoticed.
    Any other file is decoded at once. Raises BadImage as :func:`decode` does.
    """

    def __init__(self, data: Any, path: str | None = None) -> None:
        self.path, self.data = path, data
        self.header: Any = None
        self.pixels = data if isinstance(data, np.ndarray) else None
        if self.pixels is None:
            check_whole(data)
            header = read_header(data) if data.startswith(JPEG) else None
            if header and header.orientation == 1:
                self.header, self.shape = header, header[:2]
                return
            self.pixels = decode(data, 'rgb', path=path)
        self.shape = self.pixels.shape[:2]

    def window(self, box: Box) -> np.ndarray:
        """Return (left, top, right, bottom) of the image."""
        left, top, right, bottom = box
        if self.pixels is None and box != (0, 0, *self.shape[::-1]):
            # A rare kind (CMYK, 12 bits, ...), or damaged: LoadImage's decoder has the last word.
            with suppress(ValueError):
                return decode_window(self.data, self.header, box, 1, choose_decoder())
        if self.pixels is None:
            self.pixels = decode(self.data, 'rgb', path=self.path)
        return self.pixels[top:bottom, left:right]
