"""Every kind of real config takes a step on a fake CUDA device, and seldom waits for it.

Few blocks at the model's own image size; the precisions take turns. Not covered are the optimiser,
hooks, loading, and which kernels run.
"""

import copy
import re
from fnmatch import fnmatch
from functools import reduce
from itertools import cycle
from operator import getitem, le
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch._dynamo.utils import graph_break_reasons

from lightvit_dense.registry import MODELS
from tests.fake_cuda.allowed import COMPILED, GRAPHS, SHALLOW, WAITS
from tests.helpers.fake_cuda import NoDraws, fake_cuda, train_step
from tests.helpers.shipped_configs import CONFIGS, ROOT, batch_of, load, name_of

PRECISIONS = {'fp16': torch.float16, 'bf16': torch.bfloat16, 'fp32': None}
KINDS = re.compile(r"(?<='type': ')[\w.]+|(?<='kind': ')\w+|extra_layer|freeze_backbone|dinov3")
PATHS = sorted(
    {  # of configs of one folder with the same kinds of parts the one of the shortest name
        (name_of(path).split('/')[0], *KINDS.findall(repr(load(path).model))): path
        for path in sorted(CONFIGS, key=lambda path: -len(str(path)))
        if name_of(path).startswith(('pretrain', 'imagenet', 'transfer', 'coco', 'ade20k', 'lasot'))
    }.values()
)


def label(value: Path | str) -> str:
    return name_of(value) if isinstance(value, Path) else value


def of_config(table: dict[str, Any], path: Path) -> Any:
    return next(value for pattern, value in table.items() if fnmatch(name_of(path), pattern))


def load_shallow(path: Path) -> Config:
    cfg = load(path)
    for key, value in of_config(SHALLOW, path).items():
        *places, last = key.split('.')
        reduce(getitem, places, cfg.model)[last] = value
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize(('path', 'precision'), zip(PATHS, cycle(PRECISIONS)), ids=label)
def test_a_step(path: Path, precision: str, photograph: Path) -> None:
    """An error names the config, the precision and the place."""
    cfg, name = load_shallow(path), f'{name_of(path)} in {precision}'
    for transform in cfg.train_dataloader.dataset.get('pipeline', ()):
        if transform.type == 'lightvit_dense.ResizeScale':  # no object is lost by a crop
            transform.ratio_range = (1.0, 1.0)
    batch = batch_of(cfg, photograph)
    with NoDraws():
        model = MODELS.build(cfg.model).train()
    with fake_cuda() as machine:
        model.to('cuda')
        machine.waits.clear()
        train_step(model, batch, PRECISIONS[precision], name)
        machine.check(of_config(WAITS, path), name)
        for key, parameter in model.named_parameters():
            assert not parameter.requires_grad or parameter.grad.is_cuda, f'{name}: {key}'


@pytest.mark.parametrize('name', COMPILED)
def test_graphs_of_four_steps_with_other_masks(name: str, photograph: Path) -> None:
    """Nothing is compiled, and the forward pass runs on the CPU."""
    cfg = load_shallow(ROOT / f'configs/{name}.py')
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
    assert all(map(le, found, GRAPHS)), (
        f'{name}: graphs, breaks, recompilations are {found}\n' + '\n'.join(reasons)
    )
