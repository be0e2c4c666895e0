"""ADE20K's scene parsing benchmark with 150 classes (Zhou et al., 2017)."""

import os

from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import DATASETS

from .base import SegmentationDataset
from .object_info import read_object_info


@DATASETS.register_module(force=True)
class ADE20KDataset(SegmentationDataset, MMSegADE20KDataset):
    """ADE20K, the folder ``ADEChallengeData2016``: 20210 training and 2000 validation images.

    Takes mmseg's arguments and keeps its 150 classes, palette and ``reduce_zero_label=True``. Ids
    in the label maps are 1..150, and 0 (other) is ignored. A choice of the classes may be given by
    ``metainfo=dict(classes=...)``; the other ones are then ignored too.

    Raises:
        DatasetError: As :class:`SegmentationDataset`, and if ``objectInfo150.txt`` in ``data_root``
            numbers the classes in another way.
    """

    def load_data_list(self) -> list[dict]:
        """List the pairs, after a look at the file that names the classes."""
        path = os.path.join(self.data_root or '', 'objectInfo150.txt')
        if self.data_root and self.backend_args is None and os.path.isfile(path):
            self._check_names(path)
        return super().load_data_list()

    def _check_names(self, path: str) -> None:
        classes = self.METAINFO['classes']
        names = read_object_info(path)
        if len(names) != len(classes):
            raise DatasetError(
                f'{path}: names {len(names)} classes where {type(self).__name__} has '
                f'{len(classes)}. Take the file of ADEChallengeData2016, or use '
                'lightvit_dense.SegmentationDataset with metainfo=dict(classes=...) for other data.'
            )
        for number, (synonyms, name) in enumerate(zip(names, classes, strict=True), 1):
            if name.strip() not in synonyms:
                raise DatasetError(
                    f'{path}: class {number} is {", ".join(synonyms)!r} where '
                    f'{type(self).__name__} has {name.strip()!r}. Take the data of '
                    'ADEChallengeData2016, or use lightvit_dense.SegmentationDataset with '
                    'metainfo=dict(classes=...) for other data.'
                )
