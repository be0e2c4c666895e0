"""ADE20K's scene parsing benchmark with 150 classes (Zhou et al., 2017)."""

import os

from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset

from lightvit_dense.registry import DATASETS

from .base import SegmentationDataset
from .object_info import check_class_names


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
            check_class_names(path, self.METAINFO['classes'], type(self).__name__)
        return super().load_data_list()
