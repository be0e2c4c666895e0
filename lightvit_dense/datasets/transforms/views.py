"""Several augmented views of one image, and their packing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.structures import BaseDataElement

from lightvit_dense.registry import TRANSFORMS

from .base import Transform


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
        for count, pipeline in zip(self.counts, self.pipelines, strict=True):
            for _ in range(count):
                view = pipeline(dict(results))
                if view is None:
                    return None
                views.append(view['img'])
        results['views'] = views
        return results


@TRANSFORMS.register_module()
class PackViews(Transform):
    """Pack the views of an image for :class:`MultiViewPreprocessor`.

    Args:
        meta_keys: What of the results goes into the sample's meta information, where present.
    """

    def __init__(self, meta_keys: Sequence[str] = ('img_path', 'ori_shape')) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack 'views' [H, W, 3] as a list of 'inputs' [3, H, W], with the sample."""
        views = [
            # [H, W, 3] -> [3, H, W]
            torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
            for view in results['views']
        ]
        meta = {key: results[key] for key in self.meta_keys if key in results}
        return {'inputs': views, 'data_samples': BaseDataElement(metainfo=meta)}
