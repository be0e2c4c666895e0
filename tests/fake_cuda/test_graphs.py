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

STEPS = 4


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
    batch = batch_of(cfg, write_photograph(tmp_path))
    model = MODELS.build(cfg.model).train()
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    forward = torch.compile(model.forward, backend=count)
    made = []
    for _ in range(STEPS):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        forward(**data, mode='loss')
        made.append(len(graphs))
    found = made[0], len(graph_break_reasons), made[-1] - made[0]
    reasons = [
        f'{r.user_stack[-1] if r.user_stack else "?"}: {r.reason}' for r in graph_break_reasons
    ]
    assert found == allowed, f'{name}: (graphs, breaks, recompilations)\n' + '\n'.join(reasons)
