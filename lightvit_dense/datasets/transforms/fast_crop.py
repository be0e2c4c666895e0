"""Load a crop of an image without decoding what the crop does not need."""

import numpy as np

from lightvit_dense.registry import TRANSFORMS

from .augment import RandomResizedCrop, resize_box
from .jpeg import REDUCED, choose_decoder, decode_window
from .loading import ImageReader, check_whole, decode, once

Box = tuple[int, int, int, int]


def choose_reduction(box: Box, size: tuple[int, int]) -> int:
    """Return the largest of 1, 2, 4, 8 by which a box can be divided and still cover a size."""
    height, width = box[3] - box[1], box[2] - box[0]
    return max(f for f in REDUCED if f == 1 or (height >= f * size[0] and width >= f * size[1]))


def reduce_box(box: Box, factor: int, shape: tuple[int, int]) -> Box:
    """Return a box in pixels of the reduced image, rounded to the nearest of them."""
    if factor == 1:
        return box
    limits = (-(-shape[1] // factor), -(-shape[0] // factor)) * 2
    left, top, right, bottom = (
        min(round(side / factor), limit) for side, limit in zip(box, limits, strict=True)
    )
    return left, top, right, bottom


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(ImageReader):
    """Load an image and take a random resized crop, in one go.

    The result is that of ``LoadImage(color='rgb')`` and ``RandomResizedCrop`` with the same backend
    and random numbers, bit for bit, except where a crop is so large that it is decoded at a
    fraction of its size: there the two agree within what interpolation does. The crop is drawn on
    the size that the header tells, and a JPEG is decoded only as far as the crop needs. Any other
    file, and a JPEG that ``exif`` turns, is decoded whole. Damage outside of what is decoded goes
    unnoticed; bad images are passed over within a budget, see :class:`ImageReader`. ``size`` to
    ``backend`` are those of :class:`RandomResizedCrop`, ``exif``, ``max_bad`` and ``backend_args``
    those of :class:`LoadImage`. An image that comes again in the batch is decoded whole, once.

    Args:
        reduce: Whether to decode at 1/2, 1/4 or 1/8 of the size where that still covers the
            wanted size.
        smooth_chroma: False repeats chroma of half the resolution, as quick decoders do, in place
            of interpolating it; about half a grey level, and a tenth of the decoding time.
        decoder: 'turbojpeg', 'simplejpeg' or 'cv2' (which always smooths); else the same pixels.
            'auto' takes the fastest one installed, in the order named.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        backend: str = 'torch',
        reduce: bool = True,
        smooth_chroma: bool = True,
        decoder: str = 'auto',
        exif: bool = True,
        max_bad: int = 0,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(max_bad, backend_args)
        self.crop = RandomResizedCrop(size, scale, ratio, interpolation, backend)
        self.reduce, self.smooth_chroma, self.exif = reduce, smooth_chroma, exif
        self.decoder = choose_decoder(decoder)

    def window(self, data: bytes | np.ndarray, results: dict) -> tuple[np.ndarray, str]:
        """Draw a crop; return its pixels, uint8 [h, w, 3], not yet resized, and how to resize them.

        ``data`` is a file, or the pixels of the whole image.
        """
        header = self.plain_header(data)
        if header is None or isinstance(data, np.ndarray):
            image = self._whole(data, results)
            (left, top, right, bottom), method = self.crop.window(results, image.shape[:2])
            return image[top:bottom, left:right], method
        check_whole(data)
        shape = results['ori_shape'] = header.height, header.width
        box, method = self.crop.window(results, shape)
        factor = choose_reduction(box, self.crop.size) if self.reduce else 1
        left, top, right, bottom = window = reduce_box(box, factor, shape)
        options = factor, self.decoder, self.smooth_chroma
        try:
            if 'repeats' not in results:
                return decode_window(data, header, window, *options), method
            whole = reduce_box((0, 0, *shape[::-1]), factor, shape)
            image = once(results, factor, lambda: decode_window(data, header, whole, *options))
            return image[top:bottom, left:right], method
        except ValueError:
            # A rare kind (CMYK, 12 bits, ...), or damaged: LoadImage's decoder has the last word.
            pixels = decode(data, 'rgb', exif=False, path=results['img_path'])
            return pixels[box[1] : box[3], box[0] : box[2]], method

    def transform(self, results: dict) -> dict | None:
        """Set 'img' (RGB, uint8 [H, W, 3]) and its sizes; None for a tolerated bad image."""
        found = self.read(results, lambda data: self.window(data, results))
        if found is None:
            return None
        pixels, method = found
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        results['img'] = resize_box(pixels, whole, self.crop.size, method, self.crop.backend)
        results['img_shape'] = self.crop.size
        return results
