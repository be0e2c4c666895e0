"""LARS against its equations, and what the engine makes of it."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import lightvit_dense  # noqa: F401
from lightvit_dense.registry import OPTIMIZERS


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 4)).double()
    nn.init.zeros_(net[2].bias)
    return net


def backward(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (7,), generator=generator)
    net.zero_grad()
    nn.functional.cross_entropy(net(x), labels).backward()


@pytest.mark.parametrize('weight_decay', [0.0, 0.02])
def test_steps_follow_the_equations(weight_decay: float) -> None:
    net, reference = make_net(), make_net()
    options = dict(lr=0.3, weight_decay=weight_decay, trust_coefficient=0.01)
    cfg = dict(type='lightvit_dense.LARS', params=net.parameters())
    optimizer = OPTIMIZERS.build(cfg | options)
    speed = {name: 0.0 for name, _ in reference.named_parameters()}
    for step in range(5):
        backward(net, step)
        optimizer.step()
        backward(reference, step)
        with torch.no_grad():
            for name, w in reference.named_parameters():
                update = w.grad
                if w.ndim > 1:
                    ratio = 0.01 * w.norm() / (update.norm() + weight_decay * w.norm())
                    update = ratio * (update + weight_decay * w)
                speed[name] = 0.9 * speed[name] + update
                w -= 0.3 * speed[name]
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_a_weight_of_zeros_takes_a_plain_step() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=[weight], lr=0.5))
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(weight, torch.full((2, 2), -0.5))


def test_the_engine_builds_it_for_what_is_trained() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    config = dict(type='OptimWrapper', optimizer=dict(type='lightvit_dense.LARS', lr=0.1))
    wrapper = build_optim_wrapper(net, config)
    matrices, vectors = wrapper.optimizer.param_groups
    assert [tuple(p.shape) for p in matrices['params']] == [(4, 5)]
    assert [tuple(p.shape) for p in vectors['params']] == [(5,), (5,), (4,)]
    frozen = net[0].weight.clone()
    loss = net(torch.randn(3, 6, dtype=torch.float64)).square().sum()
    wrapper.update_params(loss)
    assert torch.equal(net[0].weight, frozen)
    # Groups of a layer-wise constructor keep their own rates.
    groups = [dict(params=[net[2].weight], lr=0.1), dict(params=[net[2].bias], lr=0.2)]
    rates = OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=groups, lr=1.0))
    assert [group['lr'] for group in rates.param_groups] == [0.1, 0.2]


def test_wrong_options() -> None:
    weight = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match='must not be negative'):
        OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=[weight], lr=-1.0))
    weight.requires_grad_(False)
    with pytest.raises(ValueError, match='no parameter needs a gradient'):
        OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=[weight], lr=1.0))
