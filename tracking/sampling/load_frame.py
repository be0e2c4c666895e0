"""Reading the frames of training pairs, with a budget for bad ones."""

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.transforms.loading import ImageReader
from tracking.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadFrame(ImageReader):
    """Load a frame of a video; bad ones are passed over within a budget.

    See :class:`lightvit_dense.datasets.transforms.loading.ImageReader` for the budget, which is
    counted over all worker processes.

    Args:
        max_bad: How many different bad frames to tolerate.
    """

    called = 'tracking.PairDataset'

    def __init__(self, max_bad: int = 0) -> None:
        super().__init__(max_bad)

    def transform(self, results: dict) -> dict | None:
        """Load frame 'frame_id' of 'frames' as 'img' (RGB uint8) and 'img_path'.

        None for a bad frame that is tolerated; 'must_load' says that none may be passed over.
        """
        frames, index = results['frames'], results['frame_id']
        results['img_path'] = frames.name(index)
        image: np.ndarray | None = None
        try:
            image = frames.read(index)
        except (DatasetError, OSError) as error:
            self._note(results['img_path'], str(error), results.get('must_load', False))
        if image is None:
            return None
        results['img'] = image
        return results
