"""Film strips while a tracker is tested."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lightvit_dense.errors import UserError

from ..registry import HOOKS
from .film_strip import film_strip


@HOOKS.register_module()
class FilmStripHook(Hook):
    """Draw every tested sequence, truth and prediction on some of its frames, into a folder.

    It draws for ``tools/test.py --show-dir`` where the config has ``visualization_hook =
    dict(type='tracking.FilmStripHook')``.

    Args:
        out_dir: The folder; a picture has the name of its sequence.
        max_images: Most pictures; None for all.
        frames: Frames in a picture, spread evenly.
        tile_width: Width of a frame in it, pixels.
        name: What the tracker is called in the pictures.
    """

    priority = 'LOW'

    def __init__(
        self,
        out_dir: str,
        max_images: int | None = None,
        frames: int = 8,
        tile_width: int = 200,
        name: str = 'prediction',
    ) -> None:
        self.out_dir = Path(out_dir)
        self.max_images = max_images
        self.frames = frames
        self.tile_width = tile_width
        self.name = name
        self._seen = 0

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw a batch.

        Args:
            runner: Unused.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: The samples, with ``sequence`` and ``boxes``.

        Raises:
            UserError: If a sample is no tracked sequence, or the picture cannot be written.
        """
        for sample in outputs or ():
            place = self._seen * get_world_size() + get_rank()
            self._seen += 1
            if self.max_images is None or place < self.max_images:
                self._draw(sample)

    def _draw(self, sample: BaseDataElement) -> None:
        if 'sequence' not in sample or 'boxes' not in sample:
            raise UserError(
                '--show-dir draws whole sequences that were tracked; this '
                f"model's results have {', '.join(sample.all_keys()) or 'nothing'}"
            )
        sequence = sample.get('sequence')
        boxes = {self.name: np.asarray(sample.get('boxes'), np.float64)}
        write_strip(
            self.out_dir / f'{sequence.name}.png',
            film_strip(sequence, boxes, self.frames, self.tile_width),
        )


def write_strip(path: str | Path, picture: np.ndarray) -> None:
    """Write an RGB picture; its folder is made if it is not there.

    Raises:
        UserError: If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        done = cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except (OSError, cv2.error) as error:
        raise UserError(f'{path} cannot be written: {error}') from error
    if not done:
        raise UserError(f'{path} cannot be written')
