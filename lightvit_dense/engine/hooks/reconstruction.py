"""Look at what a masked image model reconstructs."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import (
    check_interval,
    evaluating,
    require,
    separate_randomness,
    unwrap,
)
from lightvit_dense.registry import HOOKS
from lightvit_dense.visualization import reconstruction_rows, write_image


@HOOKS.register_module()
class ReconstructionVisualizationHook(Hook):
    """Draw the reconstruction of the data set's first images, always behind the same mask.

    Pictures go to the runner's visualizer and to ``<work_dir>/reconstructions/iter_<n>.png``. The
    random numbers of training are not disturbed. The model needs
    ``reconstruct(inputs) -> dict(original, masked, reconstruction)``.

    Args:
        interval: Iterations between two pictures; one is drawn after the last iteration as well.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 500, num_images: int = 4) -> None:
        self.interval = check_interval(interval, self)
        if num_images < 1:
            raise ValueError(f'ReconstructionVisualizationHook: num_images={num_images} < 1')
        self.num_images = num_images

    def before_train(self, runner: Runner) -> None:
        """Read the images."""
        require(runner.model, 'reconstruct', self)
        if not is_main_process():
            return
        dataset = runner.train_dataloader.dataset
        with separate_randomness(0):
            items = [dataset[i] for i in range(min(self.num_images, len(dataset)))]
        self.batch = runner.train_dataloader.collate_fn(items)

    @master_only
    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Draw when it is time."""
        if not (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            return
        model = unwrap(runner.model)
        with separate_randomness(0), evaluating(model):
            inputs = model.data_preprocessor(dict(self.batch), False)['inputs']
            picture = reconstruction_rows(model.reconstruct(inputs))
        step = runner.iter + 1
        runner.visualizer.add_image('reconstruction', picture, step)
        write_image(Path(runner.work_dir) / 'reconstructions' / f'iter_{step}.png', picture)
