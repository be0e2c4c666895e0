"""COCO's dataset with seeded augmentation and plain answers to broken files."""

import os
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from lightvit_dense.datasets.annotation_contents import MAX_DROPPED, REMEDY, count_objects
from lightvit_dense.datasets.annotations import class_ids, read_annotations
from lightvit_dense.datasets.determinism import SeededItems
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.storage import missing_files
from lightvit_dense.registry import DATASETS


@DATASETS.register_module(force=True)
class CocoDataset(SeededItems, MMDetCocoDataset):
    """mmdet's ``CocoDataset``, checked when it is built and deterministic under our samplers.

    Images without annotations are kept unless ``filter_cfg=dict(filter_empty_gt=True)``. As in
    mmdet, boxes outside of the image or of less than a pixel and objects of no area are left out,
    crowds and objects without a proper polygon are ignored, and objects of classes that
    ``metainfo`` does not name are left out (a warning names these classes). A table of what is
    left is logged for training, and is in ``contents``.

    Args:
        max_dropped: Greatest share in [0, 1] of the objects that may be lost so; objects of other
            classes do not count.

    Raises:
        DatasetError: If the annotation file is missing or broken (see
            :func:`lightvit_dense.datasets.annotations.read_annotations`), its categories do not
            fit the classes, an object has no mask, or not as polygons, though the pipeline loads
            them, images do not exist, or no object is left, or too few are.
    """

    def __init__(self, *args: Any, max_dropped: float = MAX_DROPPED, **kwargs: Any) -> None:
        if not 0 <= max_dropped <= 1:
            raise DatasetError(f'max_dropped must lie in [0, 1], got {max_dropped}')
        self.max_dropped = max_dropped
        super().__init__(*args, **kwargs)

    def COCOAPI(self, path: str) -> COCO:
        """Read, check and index the annotation file."""
        need = not self.test_mode
        content = read_annotations(path, need_annotations=need, refuse_degenerate=self.test_mode)
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
        unused = [e['name'] for e in content['categories'] if e['name'] not in classes]
        if unused:
            print_log(
                f'{self.ann_file}: {len(unused)} of its {len(content["categories"])} categories '
                f'are not among the {len(classes)} classes, and their objects are left out: '
                f'{", ".join(unused[:10])}.',
                logger='current',
                level=30,
            )
        min_size = 0 if self.test_mode else (self.filter_cfg or {}).get('min_size', 0)
        masks = self._loads_masks()
        self.contents = count_objects(self.ann_file, content, classes, masks, min_size)
        if need or content['annotations']:
            self.contents.check(self.max_dropped, REMEDY)
        api = COCO()
        api.dataset = content
        with redirect_stdout(StringIO()):
            api.createIndex()
        api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
        return api

    def load_data_list(self) -> list[dict]:
        """Load the annotations."""
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

    def parse_data_info(self, raw_data_info: dict) -> dict | list[dict]:
        """Turn the entries of an image into mmdet's format."""
        info = super().parse_data_info(raw_data_info)
        if not all('mask' in instance for instance in info['instances']) and self._loads_masks():
            lacking = [e['id'] for e in raw_data_info['raw_ann_info'] if not e.get('segmentation')]
            raise DatasetError(
                f'{self.ann_file}: annotation {lacking[0]} has no segmentation, but the pipeline '
                'loads masks. Add its mask, remove the annotation, or load no masks '
                '(with_mask=False of LoadAnnotations, for a detector without mask head).'
            )
        runs = []
        for instance in info['instances']:
            mask = instance.get('mask', ())
            if isinstance(mask, dict):
                runs.append(instance)
                continue
            for polygon in mask:
                # An array of whole numbers would stay one, and be truncated, when it is resized.
                polygon[:1] = map(float, polygon[:1])
        if not all(instance['ignore_flag'] for instance in runs) and self._loads_masks(False):
            raise DatasetError(
                f'{self.ann_file}: image {info["img_id"]} has an object whose segmentation is run '
                'lengths, but the pipeline loads polygons, and would ignore it. Set '
                'poly2mask=True of LoadAnnotations in train_dataloader.dataset.pipeline.'
            )
        return info

    def filter_data(self) -> list[dict]:
        """Return what ``filter_cfg`` leaves, if the images are there; tell what there is."""
        kept = super().filter_data()
        paths = [info['img_path'] for info in kept]
        lacking = missing_files(paths) if self.backend_args is None else []
        if lacking:
            raise DatasetError(
                f'{self.ann_file}: {len(lacking)} of the {len(paths)} images that it lists do not '
                f'exist, such as {lacking[0]}. Copy the images whole, set data_prefix.img to the '
                'folder that its file_name begins in, or cut the file to the images that are there.'
            )
        if not self.test_mode:
            self.contents.images = len(kept)
            self.contents.log()
        return kept

    def _loads_masks(self, bitmaps: bool | None = None) -> bool:
        """Whether the pipeline loads masks, as bitmaps or polygons where it matters."""
        loaders = [s for s in self.pipeline.transforms if getattr(s, 'with_mask', False)]
        return any(bitmaps in (None, getattr(step, 'poly2mask', True)) for step in loaders)
