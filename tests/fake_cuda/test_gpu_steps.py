"""Every real config takes a step on a fake CUDA device, in each precision, and seldom waits for it.

Covered are preprocessing, forward pass, losses and backward pass of the whole model at its own
size, both stages of Mask R-CNN with assignment, sampling and NMS (half of what could be found is
found). Not covered are the optimiser, hooks, loading, and which kernels run.
"""

import copy
import re
from fnmatch import fnmatch
from functools import reduce
from operator import getitem, le
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from torch._dynamo.utils import graph_break_reasons

from lightvit_dense.registry import MODELS
from tests.fake_cuda.allowed import GRAPHS, WAITS
from tests.helpers.fake_cuda import NoDraws, fake_cuda, train_step
from tests.helpers.shipped_configs import CONFIGS, ROOT, batch_of, load, name_of

REAL = ('pretrain', 'imagenet', 'transfer', 'coco', 'ade20k', 'lasot')
PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}
# What changes no operation; a fraction of zero does.
VARIED = re.compile(
    r", 'init\w*': (None|'\w+')|'num_classes': \d+|'pairs': \[.*?\]|'arch': '\w+'"
    r'|(?!0\.0\b)\d+\.\d+(e-\d+)?|\d+e-\d+'
)
PATHS = {  # of configs with the same operations the one of the shortest name
    VARIED.sub('', repr(load(path).model)): path
    for path in sorted(CONFIGS, key=lambda path: -len(str(path)))
    if name_of(path).split('/')[0] in REAL
}.values()


@pytest.mark.parametrize('path', PATHS, ids=name_of)
def test_a_step_in_each_precision(path: Path, photograph: Path) -> None:
    """An error names the config, the precision and the place."""
    cfg, name = load(path), name_of(path)
    init_default_scope(cfg.default_scope)
    allowed = next(count for pattern, count in WAITS.items() if fnmatch(name, pattern))
    for transform in cfg.train_dataloader.dataset.get('pipeline', ()):
        if transform.type == 'lightvit_dense.ResizeScale':  # no object is lost by a crop
            transform.ratio_range = (1.0, 1.0)
    batch = batch_of(cfg, photograph)
    with NoDraws():
        model = MODELS.build(cfg.model).train()
    with fake_cuda() as machine:
        model.to('cuda')
        for precision, amp in PRECISIONS.items():
            machine.waits.clear()
            model.zero_grad()
            step = f'{name} in {precision}'
            train_step(model, copy.deepcopy(batch), amp, step)
            machine.check(allowed, step)
            for key, parameter in model.named_parameters():
                assert not parameter.requires_grad or parameter.grad.is_cuda, f'{step}: {key}'


@pytest.mark.parametrize('name', GRAPHS)
def test_graphs_of_four_steps_with_other_masks(name: str, photograph: Path) -> None:
    """Nothing is compiled, and the forward pass runs on the CPU."""
    cfg = load(ROOT / 'configs' / name)
    changes, allowed = GRAPHS[name]
    for key, value in changes.items():
        *path, last = key.split('.')
        reduce(getitem, path, cfg.model)[last] = value
    init_default_scope(cfg.default_scope)
    model, batch = MODELS.build(cfg.model).train(), batch_of(cfg, photograph)
    graphs: list[Any] = []
    torch._dynamo.reset()
    backend = lambda graph, inputs: graphs.append(graph) or graph.forward  # noqa: E731
    forward, made = torch.compile(model.forward, backend=backend), []
    for seed in range(4):
        torch.manual_seed(seed)
        forward(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
        made.append(len(graphs))
    found = made[0], len(graph_break_reasons), made[-1] - made[0]
    reasons = [f'{r.user_stack[-1:]}: {r.reason.splitlines()[0]}' for r in graph_break_reasons]
    torch._dynamo.reset()
    assert all(map(le, found, allowed)), (
        f'{name}: graphs, breaks, recompilations are {found}\n' + '\n'.join(reasons)
    )
