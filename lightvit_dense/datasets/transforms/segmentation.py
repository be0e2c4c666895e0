"""Reading label maps, and refusing those that would train on wrong classes."""

import io
import re
import threading
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import TRANSFORMS

from .base import Transform
from .loading import read_bytes

IGNORED = 255
"""The label of pixels that count neither in the loss nor in the metric."""
_MODES = ('L', 'P', '1')
_LIMIT = threading.Lock()


def _open(data: bytes) -> Image.Image:
    """Open a picture of as many pixels as OpenCV takes, the limit of the images themselves."""
    with _LIMIT:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 2**30
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def read_label_map(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read the ids of a label map as they are in the file: uint8 [H, W]."""
    try:
        data = read_bytes(path, backend_args)
    except FileNotFoundError as error:
        raise DatasetError(
            f'{path}: this label map does not exist. Copy the data set whole, or take its image '
            'out of the data.'
        ) from error
    try:
        with _open(data) as image:
            blurred = image.format in ('JPEG', 'MPO')
            if image.mode not in _MODES or blurred:
                why = 'JPEG, which blurs ids' if blurred else 'colours, transparency or more bits'
                raise DatasetError(
                    f'{path}: a label map holds one id of eight bits a pixel, this file is of the '
                    f'kind {image.mode!r} ({why}). Write the ids 0..255 as a grey 8-bit PNG.'
                )
            # Pillow spreads grey values of two and four bits over eight.
            bits = re.search(r"'L;([24])", str(image.tile))
            image.load()
            ids = np.array(image).astype(np.uint8, copy=False)
            palette = np.array(image.getpalette() or []).reshape(-1, 3)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = 'no image' if isinstance(error, UnidentifiedImageError) else str(error)
        raise DatasetError(
            f'{path}: this label map cannot be read ({why}). Restore the file.'
        ) from error
    if bits:
        ids //= 255 // (2 ** int(bits[1]) - 1)
    if len(palette):
        _check_palette(path, ids, palette)
    return ids


def _check_palette(path: str, ids: np.ndarray, palette: np.ndarray) -> None:
    """Refuse a palette [N, 3] of greys that are no places, where either may be meant as the ids.

    Programs that shrink pictures turn grey ones into such palettes, in any order.
    """
    greys = palette[:, 0]
    two = greys.tolist() in ([0, 255], [0, 255, *[0] * (len(greys) - 2)])
    if two or (palette != greys[:, None]).any():
        return  # colours say nothing of ids
    used = np.flatnonzero(count_ids(ids))
    used = used[used < len(palette)]
    other = used[greys[used] != used]
    if len(other) and len(np.unique(greys[used])) == len(used):
        raise DatasetError(
            f'{path}: has a palette of greys where place {other[0]} is the grey {greys[other[0]]}, '
            'and which of them is the id cannot be told. Write a grey 8-bit PNG: of the greys by '
            "Pillow's image.convert('L'), of the places by Image.fromarray(np.array(image))."
        )


def count_ids(ids: np.ndarray) -> np.ndarray:
    """Count the pixels of each id [H, W], int64 [256], in strips, which save memory."""
    strips = np.array_split(ids.ravel(), ids.size // 2**22 + 1)
    counts = [cv2.calcHist([strip], [0], None, [256], [0, 256]) for strip in strips]  # float32
    return np.sum(counts, axis=0, dtype=np.int64).ravel()


@TRANSFORMS.register_module()
class LoadSegmentationMap(Transform):
    """Load the label map of an image, in the place of ``mmseg.LoadAnnotations``.

    What mmseg would train on without a word is an error here: colours in the place of ids, a map
    of another size than the image, ids beyond the classes. The data set says by
    'reduce_zero_label' whether 0 is ignored and all other ids count from 1, and by 'label_map'
    which label becomes which.

    Args:
        num_classes: Number of classes that the maps may name. None takes the item's 'num_classes',
            which our data sets give; without it ids are not checked.
        backend_args: mmengine's storage backend; None reads local files.
    """

    def __init__(self, num_classes: int | None = None, backend_args: dict | None = None) -> None:
        if num_classes is not None and not 1 <= num_classes <= IGNORED:
            raise ValueError(f'num_classes must lie in 1..{IGNORED}, got {num_classes}')
        self.num_classes = num_classes
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Set 'gt_seg_map' (uint8 [H, W]: 0..classes-1, 255 is ignored)."""
        path = results['seg_map_path']
        ids = read_label_map(path, self.backend_args)
        size = results.get('ori_shape')
        if size is not None and ids.shape != tuple(size[:2]):
            raise other_size(path, ids.shape, results.get('img_path', ''), size)
        reduce_zero = results.get('reduce_zero_label', False)
        limit = self.num_classes or results.get('num_classes')
        if limit is not None and ids.max() >= limit + reduce_zero:
            check_ids(path, ids, limit, reduce_zero)
        table = label_table(reduce_zero, results.get('label_map'))
        results['gt_seg_map'] = cv2.LUT(ids, table)
        fields = results.setdefault('seg_fields', [])
        if 'gt_seg_map' not in fields:
            fields.append('gt_seg_map')
        return results


def other_size(path: str, shape: Sequence[int], image: str, size: Sequence[int]) -> DatasetError:
    """Return the error of a label map whose (height, width) is not that of its image."""
    return DatasetError(
        f'{path}: the label map has {shape[1]} x {shape[0]} pixels, its image {image} {size[1]} x '
        f'{size[0]}. Both must be of one size; take the image and the map of one release of the '
        'data set.'
    )


def check_ids(path: str, ids: np.ndarray, num_classes: int, reduce_zero: bool) -> np.ndarray:
    """Count ids as :func:`count_ids`; refuse those that are no class (255 is always ignored)."""
    first, counts = (1 if reduce_zero else 0), count_ids(ids)
    present = np.flatnonzero(counts)
    wrong = present[(present >= first + num_classes) & (present != IGNORED)]
    if len(wrong):
        shown = ', '.join(map(str, wrong[:10])) + (', ...' if len(wrong) > 10 else '')
        zero = ' (0 is ignored, as reduce_zero_label is set)' if reduce_zero else ''
        raise DatasetError(
            f'{path}: holds the id {shown}, but the {num_classes} classes have the ids '
            f'{first}..{first + num_classes - 1}{zero}. Correct the file, set reduce_zero_label '
            'as the data need it, or name all classes in metainfo.classes.'
        )
    return counts


def label_table(reduce_zero: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """Return the label of each id in a file, uint8 [256]."""
    labels = np.arange(256, dtype=np.uint8)
    if reduce_zero:
        labels = np.where(labels == 0, IGNORED, labels - 1).astype(np.uint8)
        labels[IGNORED] = IGNORED
    if not label_map:
        return labels
    renamed = np.arange(256, dtype=np.uint8)
    for old, new in label_map.items():
        renamed[old] = new
    return renamed[labels]
