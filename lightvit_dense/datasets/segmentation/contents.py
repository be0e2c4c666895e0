"""Class statistics of label maps, in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lightvit_dense.datasets.contents import Contents
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.transforms import segmentation

SAMPLE = 256
"""Most label maps that are read, evenly spaced; they take about a second."""
MAX_DROPPED = 0.9
"""Default share of the pixels that may be ignored."""


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of a data set, and how it reads them."""

    name: str  # what messages call them: their folder
    paths: Sequence[str]
    classes: Sequence[str]
    reduce_zero: bool = False
    label_map: dict[int, int] | None = None
    backend_args: dict | None = None
    images: Sequence[str] = ()  # local files whose sizes are compared

    def survey(
        self, max_dropped: float = MAX_DROPPED, limit: int | None = SAMPLE, alone: bool = True
    ) -> Contents:
        """Count the pixels of ``limit`` files; of all files where these show at most one class.

        Raises:
            DatasetError: If nothing is labelled, more than ``max_dropped`` is ignored, only one of
                several classes occurs though the data set is ``alone``, or a file cannot be read or
                names an unknown id.
        """
        contents, ids = self._count(limit)
        if contents.images < len(self.paths) and len(contents.absent) >= len(self.classes) - 1:
            contents, ids = self._count(None)
        there = ', '.join(map(str, np.flatnonzero(ids)[:10]))
        hint = f'The ids in the files begin {there}; 255 is ignored'
        if self.reduce_zero:
            hint += ' and so is 0, as reduce_zero_label is set: unset it if 0 is the first class'
        elif there == '0, 255':
            hint += ': write 0 and 1 for two classes'
        contents.check(max_dropped, f'{hint}. A share that is meant is set by max_dropped.')
        if alone and len(contents.absent) == len(self.classes) - 1 > 0:
            (only,) = (name for name, _, pixels in contents.classes if pixels)
            raise DatasetError(
                f'{contents.name}: all labelled pixels are of the class {only!r}, one of '
                f'{len(self.classes)}. {hint}.'
            )
        return contents

    def _count(self, limit: int | None) -> tuple[Contents, np.ndarray]:
        """Count the pixels of ``limit`` files, or all, by class, and by id [256]."""
        total = len(self.paths)
        read = total if limit is None else min(total, limit)
        names = len(self.label_map or self.classes)
        counts = np.zeros((read, 256), np.int64)
        for row in range(read):
            place = row * (total - 1) // max(1, read - 1)
            path = self.paths[place]
            ids = segmentation.read_label_map(path, self.backend_args)
            if self.images:
                _compare_size(path, ids.shape, self.images[place])
            counts[row] = segmentation.check_ids(path, ids, names, self.reduce_zero)
        labels, sums = segmentation.label_table(self.reduce_zero, self.label_map), counts.sum(0)
        rows = []
        for number, name in enumerate(self.classes):
            pixels = counts[:, labels == number].sum(1)
            rows.append((name, int(np.count_nonzero(pixels)), int(pixels.sum())))
        dropped = {f'of the id {segmentation.IGNORED}': int(sums[segmentation.IGNORED])}
        if self.reduce_zero:
            dropped['of the id 0 (reduce_zero_label)'] = int(sums[0])
        rest = int(sums.sum()) - sum(row[2] for row in rows) - sum(dropped.values())
        name = self.name if read == total else f'{self.name} ({read} of its {total} label maps)'
        aside = {'of classes that are not chosen': rest}
        return Contents(name, 'pixels', read, rows, dropped, aside), sums


def _compare_size(path: str, shape: tuple[int, ...], image: str) -> None:
    """Compare a label map's (height, width) with an image's header, which may be turned by EXIF."""
    try:
        with Image.open(image) as file:
            size = file.size[::-1]
    except Image.DecompressionBombError:  # OpenCV, which loads images, may take it
        return
    except OSError as error:
        raise DatasetError(f'{image}: this image cannot be read. Restore the file.') from error
    if sorted(size) != sorted(shape):
        raise segmentation.other_size(path, shape, image, size)
