"""Train, stop, resume, and compare what was saved."""

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from lightvit_dense import apis
from lightvit_dense.engine.resume import find_resume_checkpoint
from lightvit_dense.registry import HOOKS

from .toy_engine import clear_globals


class Stop(Exception):
    """Stands for the machine that goes down."""


@HOOKS.register_module(force=True)
class StopHook(Hook):
    """Stops before an iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            raise Stop


def run(cfg: Config, work_dir: Path, stop_at: int | None = None, resume: bool = False) -> dict:
    """Train; return the last checkpoint."""
    clear_globals()
    cfg = copy.deepcopy(cfg)
    if stop_at is not None:
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='StopHook', at=stop_at)]
    elif not resume:
        cfg.default_hooks.checkpoint.interval = -1  # the last one is saved all the same
    with nullcontext() if stop_at is None else pytest.raises(Stop):
        apis.train(cfg, work_dir=work_dir, resume=resume)
    return torch.load(find_resume_checkpoint(work_dir), weights_only=False)


def assert_same(left: dict, right: dict) -> None:
    assert left['meta']['iter'] == right['meta']['iter']
    for part in ('state_dict', 'ema_state_dict'):
        assert left.get(part, {}).keys() == right.get(part, {}).keys()
        for name, value in left.get(part, {}).items():
            assert torch.equal(value, right[part][name]), (part, name)
    for key, state in left['optimizer']['state'].items():
        for name, value in state.items():
            assert torch.equal(value, right['optimizer']['state'][key][name]), (key, name)
    groups = zip(left['optimizer']['param_groups'], right['optimizer']['param_groups'], strict=True)
    assert all(a == b for a, b in groups)
    assert left['param_schedulers'] == right['param_schedulers']
