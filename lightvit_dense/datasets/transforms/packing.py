"""Several views of one image, and the last step of a pipeline: packing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose

from lightvit_dense.datasets.collate import make_sample
from lightvit_dense.datasets.draws import Draws
from lightvit_dense.registry import TRANSFORMS

from .base import Transform


@TRANSFORMS.register_module()
class PackImage(Transform):
    """Pack an image, and its label where there is one, for the data preprocessor.

    A label 'gt_label' becomes a field of the sample. It stays an integer: a batch's labels go to
    the device together, as one tensor. What :class:`RandomFlipFlag` decided stands beside the
    image. The image keeps its layout in memory, channels last; whoever makes the batch copies it.

    Args:
        meta_keys: What of the results goes into the sample's meta information, where present.
    """

    def __init__(
        self, meta_keys: Sequence[str] = ('img_path', 'ori_shape', 'img_shape', 'flip')
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def fields(self, results: dict) -> tuple[dict[str, Any], int | None]:
        """Return the meta information of a sample, and its label if it has one."""
        meta = {key: results[key] for key in self.meta_keys if key in results}
        return meta, int(results['gt_label']) if 'gt_label' in results else None

    def transform(self, results: dict) -> dict:
        """Pack 'img' [H, W, 3] as 'inputs' [3, H, W] with its sample, and 'flip' if decided."""
        image = results['img']
        if not (image.flags.c_contiguous and image.flags.writeable):
            # torch takes no array that is read-only or runs backwards, as a mirrored one does.
            image = np.array(image, order='C')
        sample = make_sample(*self.fields(results))
        # [H, W, 3] -> [3, H, W], a view
        packed = {'inputs': torch.from_numpy(image).permute(2, 0, 1), 'data_samples': sample}
        if 'flip_flag' in results:
            packed['flip'] = results['flip_flag']
        return packed


@TRANSFORMS.register_module()
class MultiView(Transform):
    """Run several pipelines on the same image, each as often as asked.

    Views come in the order of the list, so that equal ones stand together; the first are the ones
    that a teacher sees.

    Args:
        views: ``dict(count=2, pipeline=[...])`` each: how many views, and the transforms that make
            one of the loaded image.
    """

    def __init__(self, views: Sequence[dict[str, Any]]) -> None:
        for view in views:
            if set(view) != {'count', 'pipeline'} or view['count'] < 1 or not view['pipeline']:
                raise ValueError(
                    'MultiView: each of views needs a positive count and a pipeline, as in '
                    f'dict(count=2, pipeline=[...]); got {dict(view)}'
                )
        if not views:
            raise ValueError('MultiView: views is empty')
        self.counts = [int(view['count']) for view in views]
        self.pipelines = [
            Compose([TRANSFORMS.build(step) for step in view['pipeline']]) for view in views
        ]

    def transform(self, results: dict) -> dict | None:
        """Make the views (uint8 [H, W, 3])."""
        views = []
        Draws.of(results)  # all views take from these
        for count, pipeline in zip(self.counts, self.pipelines, strict=True):
            for _ in range(count):
                view = pipeline(dict(results))
                if view is None:
                    return None
                views.append(view['img'])
        results['views'] = views
        return results


@TRANSFORMS.register_module()
class PackViews(PackImage):
    """Pack the views of an image for :class:`MultiViewPreprocessor`; see :class:`PackImage`."""

    def __init__(self, meta_keys: Sequence[str] = ('img_path', 'ori_shape')) -> None:
        super().__init__(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack 'views' [H, W, 3] as a list of 'inputs' [3, H, W], with the sample."""
        views = [
            # [H, W, 3] -> [3, H, W]
            torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
            for view in results['views']
        ]
        return {'inputs': views, 'data_samples': make_sample(self.fields(results)[0])}
