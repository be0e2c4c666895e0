"""COCO's dataset with seeded augmentation and plain answers to broken files."""

import os
from contextlib import redirect_stdout
from io import StringIO

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO

from lightvit_dense.datasets.annotations import class_ids, read_annotations
from lightvit_dense.datasets.determinism import SeededItems
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.registry import DATASETS


@DATASETS.register_module(force=True)
class CocoDataset(SeededItems, MMDetCocoDataset):
    """mmdet's ``CocoDataset``, checked when it is built and deterministic under our samplers.

    Takes mmdet's arguments. Images without annotations are kept unless
    ``filter_cfg=dict(filter_empty_gt=True)``.

    Raises:
        DatasetError: If the annotation file is missing or broken (see
            :func:`lightvit_dense.datasets.annotations.read_annotations`), its categories do not
            fit the classes, or the image folder does not exist.
    """

    def COCOAPI(self, path: str) -> COCO:
        """Read, check and index the annotation file."""
        need = not self.test_mode
        content = read_annotations(path, need_annotations=need)
        classes = self.metainfo['classes']
        ids = class_ids(self.ann_file, content, classes)
        # mmdet numbers labels in the order of the file, whatever the order of the classes.
        order = {entry['id']: place for place, entry in enumerate(content['categories'])}
        if [order[i] for i in ids] != sorted(order[i] for i in ids):
            names = [entry['name'] for entry in content['categories'] if entry['id'] in ids]
            raise DatasetError(
                f'{self.ann_file}: lists the classes in another order than metainfo. '
                f'Set classes to {tuple(names)}.'
            )
        api = COCO()
        api.dataset = content
        with redirect_stdout(StringIO()):
            api.createIndex()
        api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
        return api

    def load_data_list(self) -> list[dict]:
        """Load the annotations.

        Returns:
            One dict an image, in mmdet's format.
        """
        folder = self.data_prefix.get('img') or ''
        if self.backend_args is None:
            if not os.path.isfile(self.ann_file):
                read_annotations(self.ann_file)
            if folder and not os.path.isdir(folder):
                raise DatasetError(
                    f'{folder}: this image folder does not exist. Set data_root (or the '
                    'environment variable LIGHTVIT_DATA) to where the data are.'
                )
        return super().load_data_list()
