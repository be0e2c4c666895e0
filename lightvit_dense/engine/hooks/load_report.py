"""Check what a checkpoint fills of a model: a start may be partial, an evaluation may not."""

import re
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from lightvit_dense.checkpoints.initializer import fit_checkpoint, unfilled
from lightvit_dense.checkpoints.loader import check_finite
from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import CheckpointError
from lightvit_dense.registry import HOOKS


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Check what a training starts from; mmengine loads whatever happens to fit.

    ``load_from`` may fill a part of the model, such as all but a head of other classes: the log
    then names what stays as initialised. A file of which nothing fits is an error, so are NaN or
    infinite values, and a resume that does not fill the whole model. Training adds this hook by
    itself.

    Args:
        max_names: Most names that a line of the report lists.
    """

    # Before EMAHook, which reads the state dict too.
    priority = 'VERY_HIGH'

    def __init__(self, max_names: int = 8) -> None:
        if max_names < 1:
            raise ValueError(f'LoadReportHook: max_names={max_names} must be positive')
        self.max_names = max_names

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint that was read and is not loaded yet."""
        path = str(runner.cfg.get('load_from') or runner._load_from or 'the checkpoint')
        state = checkpoint.get('state_dict', checkpoint)
        state = {re.sub(r'^module\.', '', str(name)): value for name, value in state.items()}
        if 'state_dict' not in checkpoint:
            checkpoint.clear()
        checkpoint['state_dict'] = state
        model = unwrap(runner.model)
        for weights in (state, checkpoint.get('ema_state_dict') or {}):
            check_finite(path, weights, model)
        own = model.state_dict()
        random = unfilled(model, state)
        unused = [name for name, value in state.items() if name not in own]
        filled = len(set(own) & set(state)) - len(set(random) & set(state))
        if not filled:
            raise CheckpointError(
                f'{path}: none of its {len(state)} entries fits the model. It holds '
                f'{self._listed(list(state))}; the model needs {self._listed(list(own))}. Give a '
                'checkpoint of this model, or put a backbone into model.backbone.init_cfg='
                "dict(type='lightvit_dense.PretrainedBackbone', checkpoint=...)."
            )
        if random and runner._resume:
            raise CheckpointError(
                f'{path}: cannot be resumed: {len(random)} of the {len(own)} values of the model '
                f'are not in it or have another shape ({self._listed(random)}). Resume with the '
                'config that wrote it, or start from its weights by load_from without resume.'
            )
        other = [name for name in random if isinstance(state.get(name), Tensor)]
        absent = [name for name in random if name not in other]
        lines = [f'{path}: fits in part: {filled} values of the model are loaded.']
        for words, names in (
            ('left as initialised, not in the file', absent),
            ('left as initialised, of another shape', other),
            ('in the file, not in the model', unused),
        ):
            if names:
                lines.append(f'  {words}: {len(names)} ({self._listed(names)})')
        if len(lines) > 1:
            runner.logger.warning('\n'.join(lines))

    def _listed(self, names: Sequence[str]) -> str:
        more = f', ... ({len(names) - self.max_names} more)' if len(names) > self.max_names else ''
        return ', '.join(names[: self.max_names]) + more


@HOOKS.register_module()
class FitCheckpointHook(Hook):
    """Take foreign classifiers and refuse partial checkpoints, see ``fit_checkpoint``."""

    # Before EMAHook, which reads the state dict too.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint that was read and is not loaded yet."""
        fit_checkpoint(
            unwrap(runner.model), checkpoint, runner.cfg.get('load_from') or 'the checkpoint'
        )
