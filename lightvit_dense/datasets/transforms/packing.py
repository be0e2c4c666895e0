"""The last step of a pipeline of images."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import BaseDataElement

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
        self,
        meta_keys: Sequence[str] = ('img_path', 'ori_shape', 'img_shape', 'flip'),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack 'img' [H, W, 3] as 'inputs' [3, H, W] with its sample, and 'flip' if decided."""
        image = results['img']
        if not (image.flags.c_contiguous and image.flags.writeable):
            # torch takes no array that is read-only or runs backwards, as a mirrored one does.
            image = np.array(image, order='C')
        meta = {key: results[key] for key in self.meta_keys if key in results}
        sample = BaseDataElement(metainfo=meta)
        if 'gt_label' in results:
            sample.gt_label = int(results['gt_label'])
        # [H, W, 3] -> [3, H, W], a view
        packed = {'inputs': torch.from_numpy(image).permute(2, 0, 1), 'data_samples': sample}
        if 'flip_flag' in results:
            packed['flip'] = results['flip_flag']
        return packed
