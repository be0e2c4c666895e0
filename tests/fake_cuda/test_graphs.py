"""How many graphs ``torch.compile`` makes of a step's forward pass; nothing is compiled."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from torch._dynamo.utils import graph_break_reasons

from lightvit_dense.registry import MODELS
from tests.fake_cuda.allowed import GRAPHS
from tests.helpers.shipped_configs import ROOT, batch_of, load, write_photograph


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Leave nothing of what dynamo has seen."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('name', GRAPHS)
def test_four_steps_with_other_masks(name: str, tmp_path: Path) -> None:
    cfg = load(ROOT / 'configs' / name)
    changes, allowed = GRAPHS[name]
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    batch = batch_of(cfg, write_photograph(tmp_path))
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    forward, made = torch.compile(model.forward, backend=count), []
    for _ in range(4):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        forward(**data, mode='loss')
        made.append(len(graphs))
    found = made[0], len(graph_break_reasons), made[-1] - made[0]
    reasons = [f'{reason.user_stack[-1:]}: {reason.reason}' for reason in graph_break_reasons]
    few = all(one <= most for one, most in zip(found, allowed, strict=True))
    assert few, f'{name}: graphs, breaks, recompilations are {found}\n' + '\n'.join(reasons)
