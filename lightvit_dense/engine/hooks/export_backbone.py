"""Leave a clean backbone behind at the end of training."""

from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dist import master_only
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from lightvit_dense.checkpoints import save_backbone
from lightvit_dense.engine.unwrap import require
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Write a backbone as safetensors, and a json beside it that says how it was made.

    When an EMA hook is at work its averaged weights are exported; the json says which. A run in
    which nothing was trained exports nothing; one that was complete when it was resumed exports
    what is missing.

    Args:
        filename: Name of the file in the work directory, ending in .safetensors.
        module: Name of the backbone in the model; DINO's better one is 'momentum_backbone'.
    """

    # After every other hook has finished with the weights.
    priority = 'LOWEST'

    def __init__(self, filename: str = 'backbone.safetensors', module: str = 'backbone') -> None:
        if not filename.endswith('.safetensors'):
            raise ValueError(f'ExportBackboneHook: {filename!r} must end in .safetensors')
        self.filename = filename
        self.module = module

    def before_train(self, runner: Runner) -> None:
        """Check that there is a backbone."""
        require(runner.model, self.module, self)
        self.begun_at = runner.iter

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the files."""
        path = Path(runner.work_dir) / self.filename
        if runner.iter == self.begun_at and (not runner.iter or path.is_file()):
            runner.logger.warning(f'Nothing was trained: no {self.module} is exported to {path}.')
            return
        averaged = next((hook for hook in runner.hooks if isinstance(hook, EMAHook)), None)
        model = runner.model if averaged is None else averaged.ema_model.module
        meta: dict[str, Any] = dict(
            weights='trained' if averaged is None else 'exponential moving average',
            module=self.module,
            config=runner.cfg.pretty_text,
            config_name=Path(runner.cfg.filename or '').name,
            iteration=runner.iter,
            epoch=runner.epoch,
            seed=runner.seed,
            world_size=runner.world_size,
            versions=dict(torch=torch.__version__, mmengine=mmengine.__version__),
        )
        save_backbone(require(model, self.module, self), path, meta)
        runner.logger.info(f'{self.module} ({meta["weights"]} weights) is exported to {path}.')
