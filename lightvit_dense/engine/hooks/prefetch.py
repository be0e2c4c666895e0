"""Copy batches to the GPU beside the computation."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lightvit_dense.engine.unwrap import require
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class PrefetchHook(Hook):
    """Copy batches to the GPU on another stream; needs ``train_dataloader.pin_memory``."""

    # After the hooks that read the batch on the host.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Make the stream."""
        self.preprocessor = require(runner.model, 'data_preprocessor', self)
        self.preprocessor._non_blocking = True
        device = torch.device(self.preprocessor.device or 'cpu')
        self.stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        self.done: torch.cuda.Event | None = None

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Start the copies, and let the computation wait for them."""
        if self.stream is None or not isinstance(data_batch, dict):
            return
        current = torch.cuda.current_stream(self.stream.device)
        if self.done is not None:  # the memory of the batch before the last is used again
            self.stream.wait_event(self.done)
        self.done = current.record_event()
        with torch.cuda.stream(self.stream):
            move_batch(data_batch, self.preprocessor)
        current.wait_stream(self.stream)
        self.held = dict(data_batch)  # until the next one has its memory


def move_batch(batch: dict[str, Any], preprocessor: Any) -> None:
    """Move a batch in place, but for flat samples, whose labels or boxes models send at once."""
    for key, value in batch.items():
        first = value[0] if isinstance(value, (list, tuple)) and value else None
        parts = first.values() if isinstance(first, BaseDataElement) else None
        if parts is None or any(isinstance(part, BaseDataElement) for part in parts):
            batch[key] = preprocessor.cast_data(value)
