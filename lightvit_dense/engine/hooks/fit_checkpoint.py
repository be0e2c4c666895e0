"""Evaluate what a checkpoint holds, or nothing."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from lightvit_dense.checkpoints.initializer import fit_checkpoint
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class FitCheckpointHook(Hook):
    """Take foreign classifiers, and refuse checkpoints that leave part of the model at random.

    See :func:`lightvit_dense.checkpoints.initializer.fit_checkpoint`. Evaluation adds it by itself.
    """

    # Before EMAHook, which reads the state dict too.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint that was read and is not loaded yet.

        Args:
            runner: The runner.
            checkpoint: What the file holds.

        Raises:
            CheckpointError: If values of the model are not in the file.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        fit_checkpoint(model, checkpoint, runner.cfg.get('load_from') or 'the checkpoint')
