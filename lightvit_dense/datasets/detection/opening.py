"""Images that are decoded when it is known what flip, resize and crop leave of them."""

import numpy as np
import torch

from lightvit_dense.datasets.transforms.loading import BadImage, ImageReader, check_listed_size
from lightvit_dense.datasets.transforms.opened import OpenedImage
from lightvit_dense.registry import TRANSFORMS


def blank(height: int, width: int) -> np.ndarray:
    """Return what stands for an image of a size: it can be mirrored and cut, but has no values."""
    return np.broadcast_to(np.zeros((), 'V1'), (height, width, 3))


@TRANSFORMS.register_module(force=True)
class OpenImage(ImageReader):
    """Open an image instead of loading it (BGR); :class:`PackDetection` decodes what is left of it.

    What stands between must not look at pixels: ``RandomFlip``, then :class:`ResizeScale`, then
    :class:`FixedSizeCrop` or ``RandomCrop``. Damage outside of what is decoded goes unnoticed.

    Args:
        max_bad: How many different bad files to tolerate, see :class:`LoadImage`.
        backend_args: mmengine's storage backend; None reads local files.
    """

    def transform(self, results: dict) -> dict | None:
        """Set 'opened', the sizes, and an 'img' without values."""
        image = self.read(results, lambda data: OpenedImage(data, results['img_path']))
        if image is None:
            return None
        check_listed_size(results, image.shape)
        results.update(opened=(self, image), img=blank(*image.shape))
        results['img_shape'] = results['ori_shape'] = image.shape
        return results

    def decode(self, image: OpenedImage, results: dict) -> np.ndarray:
        """Return what the steps have left of an image, BGR uint8 [H, W, 3]."""
        scale = np.divide(results.get('scale', image.shape[::-1])[::-1], image.shape)
        matrix = results.get('homography_matrix', np.eye(3))
        mirrored, shift = matrix[[1, 0], [1, 0]] < 0, matrix[[1, 0], 2]
        # The crop in the resized image before that is mirrored, and the last row it is made of.
        count = results['img'].shape[:2]
        first = np.rint(np.where(mirrored, shift - count, -shift)).astype(int)
        last = (first + count).tolist()
        rows = min(image.shape[0], int(last[0] / scale[0] + max(1, 1 / scale[0])) + 2)
        pixels = image.window((0, 0, image.shape[1], rows))
        # A resize begins where the image does; what lies before the crop is cut off.
        batch = torch.from_numpy(pixels.reshape(1, *pixels.shape)).permute(0, 3, 1, 2)
        resized = torch.ops.aten._upsample_bilinear2d_aa(batch, last, False, *scale.tolist())
        crop = resized[0].numpy()[::-1, first[0] :, first[1] :]
        crop = crop[:, :: -1 if mirrored[0] else 1, :: -1 if mirrored[1] else 1]
        # [3, H, W] -> [H, W, 3], a view, of which packing makes [3, H, W] again without a copy
        return np.ascontiguousarray(crop).transpose(1, 2, 0)


def decode_opened(results: dict) -> dict | None:
    """Replace an 'img' without values by pixels; None for a bad image that is tolerated."""
    if 'opened' in results:
        loader, image = results.pop('opened')
        try:
            results['img'] = loader.decode(image, results)
        except BadImage as error:
            loader._note(results['img_path'], str(error), results.get('must_load', False))
            return None
    return results
