"""That the fake device finds what it is there to find."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from lightvit_dense.models.pretraining import masked
from tests.fake_cuda.steps import take_steps
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.shipped_configs import ROOT, write_photograph

WAITS = {
    'item': [
        lambda x: x.sum().item(),
        lambda x: float(x[0, 0]),
        lambda x: 1 if x.any() else 0,
        lambda x: torch.equal(x, x),
    ],
    'nonzero': [lambda x: x.nonzero(), lambda x: torch.where(x > 0), lambda x: x.argwhere()],
    'mask': [lambda x: x[x > 0], lambda x: x[:, x[0] > 0], lambda x: _set(x, x > 0, x[x > 0])],
    'masked_select': [lambda x: x.masked_select(x > 0)],
    '_unique2': [lambda x: x.unique()],
    'to host': [lambda x: x.cpu(), lambda x: x.tolist(), lambda x: torch.zeros(4, 4).copy_(x)],
    'to device': [
        lambda x: torch.tensor([1.0, 2.0], device='cuda'),
        lambda x: x.new_tensor([3.0]),
        lambda x: torch.zeros(4, 4).to(x.device),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.copy_(torch.zeros(4, 4)),
    ],
    'nms': [lambda x: torchvision.ops.nms(x, x[0], 0.5)],
}
FREE: list[Callable[[Tensor], Any]] = [
    lambda x: torch.arange(4, device=x.device) + torch.tensor(2.0),
    lambda x: x.masked_fill(x > 0, 0.0),
    lambda x: _set(x, x > 0, 0.0),
    lambda x: torch.where(x > 0, x, 0.0).new_zeros(3),
    lambda x: torch.zeros(4, 4).to('cuda', non_blocking=True),
    lambda x: torch.tensor([1.0, 2.0]).sum().item(),
]
MIXED: dict[str, list[Callable[[Tensor], Any]]] = {
    'device|cpu': [lambda x: x + torch.zeros(4, 4), lambda x: torch.cat([x, torch.zeros(1, 4)])],
    'dtype|Half': [lambda x: x.half() @ x, lambda x: torch.addmm(x, x.half(), x)],
}


def _set(x: Tensor, mask: Tensor, value: Any) -> None:
    x[mask] = value


def cases(table: dict) -> list:
    return [(kind, call) for kind, calls in table.items() for call in calls]


@pytest.mark.parametrize(('kind', 'call'), cases(WAITS))
def test_what_the_host_waits_for_is_noted_with_its_place(kind: str, call: Callable) -> None:
    line = inspect.getsourcelines(call)[1]
    with fake_cuda() as machine:
        call(torch.randn(4, 4, device='cuda'))
        assert {wait.kind for wait in machine.waits} >= {kind}
        assert machine.waits[-1].place in (
            f'tests/fake_cuda/test_fake_cuda.py:{line}',
            f'tests/fake_cuda/test_fake_cuda.py:{inspect.getsourcelines(_set)[1] + 1}',
        )
        with pytest.raises(
            AssertionError, match=rf'x: the host waits \d times .* 0:\n.*{kind} .*py:'
        ):
            machine.check(0, 'x')


@pytest.mark.parametrize('call', FREE)
def test_what_it_does_not_wait_for_is_not(call: Callable) -> None:
    with fake_cuda() as machine:
        call(torch.randn(4, 4, device='cuda'))
        machine.check(0, 'x')


@pytest.mark.parametrize(('message', 'call'), cases(MIXED))
def test_mixed_devices_and_dtypes_raise(message: str, call: Callable) -> None:
    with fake_cuda(), pytest.raises(RuntimeError, match=message):
        call(torch.randn(4, 4, device='cuda'))


def test_the_process_is_left_as_it_was() -> None:
    before = torch.cuda.is_available(), torch.is_autocast_enabled('cuda')
    with pytest.raises(ZeroDivisionError), fake_cuda():
        raise ZeroDivisionError
    assert (torch.cuda.is_available(), torch.is_autocast_enabled('cuda')) == before
    x = torch.ones(2, requires_grad=True)
    x.square().sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


PLANTED: dict[str, Callable[[Tensor], Any]] = {
    'waits 1 times': lambda x: x.mean().item(),
    'found two different devices': lambda x: x + torch.zeros(x.shape[-1]),
    'same dtype': lambda x: x.flatten(1) @ x.flatten(1).T.double(),
}


@pytest.mark.parametrize('message', PLANTED)
def test_a_planted_fault_is_found_with_config_and_place(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = masked.patch_statistics

    def planted(patches: Tensor) -> tuple[Tensor, Tensor]:
        PLANTED[message](patches)
        return usual(patches)

    monkeypatch.setattr(masked, 'patch_statistics', planted)
    config = ROOT / 'configs/pretrain/mae_vit-tiny.py'
    place = f'test_fake_cuda.py:{inspect.getsourcelines(PLANTED[message])[1]}'
    with pytest.raises(AssertionError) as raised:
        take_steps(config, write_photograph(tmp_path))
    for part in ('pretrain/mae_vit-tiny.py in fp32: ', message, place):
        assert part in str(raised.value)
