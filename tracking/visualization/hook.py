"""Film strips while a tracker is tested."""

from pathlib import Path

import numpy as np
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lightvit_dense.engine.hooks import PredictionVisualizationHook
from lightvit_dense.errors import UserError
from lightvit_dense.visualization import Image

from ..registry import HOOKS
from .film_strip import film_strip


@HOOKS.register_module()
class FilmStripHook(PredictionVisualizationHook):
    """Draw every tested sequence, truth and prediction on some of its frames, into a folder.

    ``visualization_hook = dict(type='tracking.FilmStripHook')`` in a config makes it what
    ``tools/test.py --show-dir`` draws with.

    Args:
        out_dir: The folder; a picture has the name of its sequence.
        max_images: Most pictures; None for all.
        frames: Frames in a picture, spread evenly.
        tile_width: Width of a frame in it, pixels.
        name: What the tracker is called in the pictures.
    """

    def __init__(
        self,
        out_dir: str,
        max_images: int | None = None,
        frames: int = 8,
        tile_width: int = 200,
        name: str = 'prediction',
    ) -> None:
        super().__init__(out_dir, max_images)
        self.frames = frames
        self.tile_width = tile_width
        self.name = name

    def draw(self, runner: Runner, sample: BaseDataElement) -> Image:
        """Return the film strip of a sample with ``sequence`` and ``boxes``."""
        if 'sequence' not in sample or 'boxes' not in sample:
            raise UserError(
                '--show-dir draws whole sequences that were tracked; this '
                f"model's results have {', '.join(sample.all_keys()) or 'nothing'}"
            )
        boxes = {self.name: np.asarray(sample.get('boxes'), np.float64)}
        return film_strip(sample.get('sequence'), boxes, self.frames, self.tile_width)

    def choose_path(self, sample: BaseDataElement) -> Path:
        """Return where the picture of a sample goes."""
        return self.out_dir / f'{sample.get("sequence").name}.png'
