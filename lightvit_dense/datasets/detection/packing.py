"""The last step of a detector's pipeline."""

from mmdet.datasets.transforms import PackDetInputs
from mmdet.structures.mask import BitmapMasks

from lightvit_dense.models.detectors.masks import CroppedMasks
from lightvit_dense.registry import TRANSFORMS

from .opening import decode_opened


@TRANSFORMS.register_module(force=True)
class PackDetection(PackDetInputs):
    """mmdet's ``PackDetInputs`` that cuts bitmaps to their objects, for training."""

    def transform(self, results: dict) -> dict | None:
        """Pack the image [3, H, W] and its annotations; None for a tolerated bad one."""
        if decode_opened(results) is None:
            return None
        packed = super().transform(results)
        for instances in packed['data_samples'].values():
            if isinstance(instances.get('masks'), BitmapMasks):
                instances.masks = CroppedMasks.of(instances.masks)
        return packed
