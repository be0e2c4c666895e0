"""Log how fast training goes and how much memory it takes."""

import time
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import check_interval
from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.memory import peak_resident_mb


def batch_size(data_batch: Any) -> int:
    """Count the images of a batch; several views of an image count once."""
    if isinstance(data_batch, dict) and 'views' in data_batch:  # the device makes the images
        return len(data_batch['data_samples'])
    inputs = data_batch['inputs'] if isinstance(data_batch, dict) else data_batch[0]
    if isinstance(inputs, dict):  # several kinds of image a sample, such as template and search
        inputs = next(iter(inputs.values()))
    # A list holds images [3, H, W], or views [B, 3, H, W].
    views = isinstance(inputs, (list, tuple)) and inputs[0].ndim == 4
    return len(inputs[0]) if views else len(inputs)


@HOOKS.register_module()
class ResourceHook(Hook):
    """Log ``images_per_second`` (of all processes) and ``peak_memory_mb``.

    Loading the data counts; validation and checkpoints in between epochs do not. The peak, in MiB,
    is that of the GPU where there is one, else the resident one of this process, without workers.

    Args:
        interval: Iterations over which the speed is averaged.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 10) -> None:
        self.interval = check_interval(interval, self)
        self.images, self.since = 0, 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.images, self.since = 0, time.perf_counter()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Start the clock again after a validation."""
        self.images, self.since = 0, time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Count, and log when it is time."""
        self.images += batch_size(data_batch)
        if batch_idx > 0 and not self.every_n_train_iters(runner, self.interval):
            return
        now = time.perf_counter()
        speed = self.images * get_world_size() / max(now - self.since, 1e-9)
        self.images, self.since = 0, now
        runner.message_hub.update_scalar('train/images_per_second', speed)
        on_gpu = torch.cuda.is_available()
        peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_resident_mb()
        runner.message_hub.update_scalar('train/peak_memory_mb', peak)
