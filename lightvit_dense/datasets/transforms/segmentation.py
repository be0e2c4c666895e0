"""Reading label maps, and refusing those that would train on wrong classes."""

import io

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import TRANSFORMS

from .base import Transform
from .loading import read_bytes

IGNORED = 255
"""The label of pixels that count neither in the loss nor in the metric."""
_MODES = ('L', 'P', '1')


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
        with Image.open(io.BytesIO(data)) as image:
            mode = image.mode
            image.load()
            labels = np.array(image) if mode in _MODES else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f'{path}: this label map cannot be read ({error}). Restore the file.'
        ) from error
    if labels is None:
        raise DatasetError(
            f'{path}: a label map holds one id of eight bits a pixel, this file is of the kind '
            f'{mode!r} (colours, transparency or more bits). Write the ids 0..255 as a grey '
            '8-bit PNG.'
        )
    return labels.astype(np.uint8, copy=False)


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
            raise DatasetError(
                f'{path}: the label map has {ids.shape[1]} x {ids.shape[0]} pixels, its image '
                f'{results.get("img_path", "")} {size[1]} x {size[0]}. Both must be of one size; '
                'take the image and the map of one release of the data set.'
            )
        reduce_zero = results.get('reduce_zero_label', False)
        limit = self.num_classes or results.get('num_classes')
        if limit is not None:
            check_ids(path, ids, limit, reduce_zero)
        table = _label_table(reduce_zero, results.get('label_map'))
        results['gt_seg_map'] = cv2.LUT(ids, table)
        fields = results.setdefault('seg_fields', [])
        if 'gt_seg_map' not in fields:
            fields.append('gt_seg_map')
        return results


def check_ids(path: str, ids: np.ndarray, num_classes: int, reduce_zero: bool) -> None:
    """Refuse ids that are no class; 255 is always ignored (uint8 [H, W])."""
    first = 1 if reduce_zero else 0
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
    wrong = present[(present >= first + num_classes) & (present != IGNORED)]
    if len(wrong):
        shown = ', '.join(map(str, wrong[:10])) + (', ...' if len(wrong) > 10 else '')
        zero = ' (0 is ignored, as reduce_zero_label is set)' if reduce_zero else ''
        raise DatasetError(
            f'{path}: holds the id {shown}, but the {num_classes} classes have the ids '
            f'{first}..{first + num_classes - 1}{zero}. Correct the file, set reduce_zero_label '
            'as the data need it, or name all classes in metainfo.classes.'
        )


def _label_table(reduce_zero: bool, label_map: dict[int, int] | None) -> np.ndarray:
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
