"""Pictures of the truth beside the prediction while a model is tested."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lightvit_dense.datasets.transforms.loading import LoadImage
from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS
from lightvit_dense.visualization import Image, draw_sample, write_image
from lightvit_dense.visualization.samples import FIELDS


@HOOKS.register_module()
class PredictionVisualizationHook(Hook):
    """Draw every tested image, truth on the left and prediction on the right, into a folder.

    Knows boxes and masks, label maps, and classes. A picture has the path of its image below the
    images' folder. Every process draws its part; mmdet's and mmseg's hooks draw on the main process
    alone.

    Args:
        max_images: Most pictures; None for all.
        score_thr: Least score of a detection that is drawn.
    """

    priority = 'LOW'

    def __init__(self, out_dir: str, max_images: int | None = None, score_thr: float = 0.3) -> None:
        self.out_dir = Path(out_dir)
        self.max_images = max_images
        self.score_thr = score_thr
        self._loader = LoadImage(color='rgb')
        self._seen = 0
        self._names: dict[str, str] = {}
        self._roots: list[Path] = []

    def before_test(self, runner: Runner) -> None:
        """Note the folders of the images."""
        self._roots = _image_folders(runner.test_loop.dataloader.dataset)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the samples of a batch with their predictions.

        Raises:
            UserError: If a sample has no image file, or nothing that can be drawn.
        """
        for sample in outputs or ():
            place = self._seen * get_world_size() + get_rank()
            self._seen += 1
            if self.max_images is None or place < self.max_images:
                picture = self.draw(runner, sample)
                write_image(self.choose_path(sample), picture)

    def choose_path(self, sample: BaseDataElement) -> Path:
        """Return where the picture of a sample goes."""
        path = Path(os.path.abspath(sample.img_path))
        below = [path.relative_to(root) for root in self._roots if path.is_relative_to(root)]
        names = [path.stem, f'{path.parent.name}_{path.stem}']  # where nobody knows the folder
        if below:
            names = [str(below[0].with_suffix('')), str(below[0])]
        for name in (*names, str(path.relative_to(path.anchor))):
            if self._names.setdefault(name, sample.img_path) == sample.img_path:
                break
        return self.out_dir / f'{name}.png'

    def draw(self, runner: Runner, sample: BaseDataElement) -> Image:
        """Return the picture of a sample."""
        if 'img_path' not in sample or not any(field in sample for field in FIELDS):
            raise UserError(
                '--show-dir draws boxes, masks, label maps and classes on image files; this '
                f"model's results have {', '.join(sample.all_keys()) or 'nothing'}"
            )
        dataset = runner.test_loop.dataloader.dataset
        meta = dataset.metainfo
        # Of some data sets the path is a name within a storage, see ImageReader.
        storage = dataset.get_data_info(0).get('storage')
        source = {'img_path': sample.img_path, 'storage': storage, 'must_load': True}
        image = self._loader(source)['img']
        return draw_sample(image, sample, meta['classes'], meta.get('palette'), self.score_thr)


def _image_folders(dataset: Any) -> list[Path]:
    """Return the folders below which a data set's images lie, the deepest first."""
    prefix = getattr(dataset, 'data_prefix', None)
    known = [prefix.get('img'), prefix.get('img_path')] if isinstance(prefix, dict) else []
    known += [getattr(dataset, name, None) for name in ('img_dir', 'data_root')]
    named = [folder for folder in known if folder and isinstance(folder, str)]
    return [Path(os.path.abspath(folder)) for folder in (*named, '.')]
