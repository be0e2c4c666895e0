"""A step of a shipped config on a fake CUDA device."""

import copy
from fnmatch import fnmatch
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lightvit_dense.registry import MODELS
from tests.fake_cuda.allowed import WAITS
from tests.helpers.fake_cuda import NoDraws, fake_cuda, place_of, train_step
from tests.helpers.shipped_configs import batch_of, load, name_of

PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def batch_for(cfg: Config, photograph: Path) -> dict:
    """Return four images, eight for detection, of which none loses objects by a crop."""
    for transform in cfg.train_dataloader.dataset.get('pipeline', ()):
        if transform.type == 'lightvit_dense.ResizeScale':
            transform.ratio_range = (1.0, 1.0)
    return batch_of(cfg, photograph, 8 if cfg.default_scope == 'mmdet' else 4)


def take_steps(path: Path, photograph: Path) -> None:
    """Take a step in each precision; an error names the config, the precision and the place."""
    cfg, name = load(path), name_of(path)
    init_default_scope(cfg.default_scope)
    allowed = next(count for pattern, count in WAITS.items() if fnmatch(name, pattern))
    batch = batch_for(cfg, photograph)
    with NoDraws():
        model = MODELS.build(cfg.model).train()
    with fake_cuda() as machine:
        model.to('cuda')
        for precision, amp in PRECISIONS.items():
            machine.waits.clear()
            model.zero_grad()
            try:
                train_step(model, copy.deepcopy(batch), amp)
            except Exception as error:
                raise AssertionError(
                    f'{name} in {precision}: {place_of(error)}: {type(error).__name__}: {error}'
                ) from error
            machine.check(allowed, f'{name} in {precision}')
            for key, parameter in model.named_parameters():
                assert not parameter.requires_grad or parameter.grad.is_cuda, f'{name}: {key}'
