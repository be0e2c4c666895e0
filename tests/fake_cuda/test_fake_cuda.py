"""That the fake device finds what it is there to find."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from tests.helpers.fake_cuda import fake_cuda

Call = Callable[[Tensor], Any]
WAITS: dict[str, list[Call]] = {
    'item': [
        lambda x: x.sum().item(),
        lambda x: float(x[0, 0]),
        lambda x: 1 if x.any() else 0,
        lambda x: torch.equal(x, x),
    ],
    'nonzero': [lambda x: x.nonzero(), lambda x: torch.where(x > 0), lambda x: x.argwhere()],
    'mask': [
        lambda x: x[x > 0],
        lambda x: x[:, x[0] > 0],
        lambda x: x.index_put((x > 0,), x[x > 0]),
        lambda x: x.masked_select(x > 0),
    ],
    'unique': [lambda x: x.unique()],
    'nms': [lambda x: torchvision.ops.nms(x, x[0], 0.5)],
    'to host': [lambda x: x.cpu(), lambda x: x.tolist(), lambda x: torch.zeros(4, 4).copy_(x)],
    'to device': [
        lambda x: torch.tensor([1.0, 2.0], device='cuda'),
        lambda x: x.new_tensor([3.0]),
        lambda x: torch.zeros(4, 4).to(x.device),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.copy_(torch.zeros(4, 4)),
    ],
}
FREE: list[Call] = [
    lambda x: torch.arange(4, device=x.device) + torch.tensor(2.0),
    lambda x: x.masked_fill(x > 0, 0.0),
    lambda x: x.__setitem__(x > 0, 0.0),
    lambda x: torch.where(x > 0, x, 0.0).new_zeros(3),
    lambda x: torch.zeros(4, 4).to('cuda', non_blocking=True),
    lambda x: torch.tensor([1.0, 2.0]).sum().item(),
]
MIXED: dict[str, list[Call]] = {
    'cuda.*cpu': [lambda x: x + torch.zeros(4, 4), lambda x: torch.cat([x, torch.zeros(1, 4)])],
    'float16': [lambda x: x.half() @ x, lambda x: x.index_put((x[0].long(),), x.half())],
}


def cases(table: dict[str, list[Call]]) -> list[tuple[str, Call]]:
    return [(key, call) for key, calls in table.items() for call in calls]


@pytest.mark.parametrize(('kind', 'call'), cases(WAITS))
def test_what_the_host_waits_for_is_noted_with_its_place(kind: str, call: Call) -> None:
    place = f'tests/fake_cuda/{Path(__file__).name}:{inspect.getsourcelines(call)[1]}'
    with fake_cuda() as machine:
        call(torch.randn(4, 4, device='cuda'))
        assert (kind, place) in machine.waits
        with pytest.raises(AssertionError, match=rf'x: the host waits \d times [\s\S]*{place}'):
            machine.check(0, 'x')


@pytest.mark.parametrize('call', FREE)
def test_what_it_does_not_wait_for_is_not(call: Call) -> None:
    with fake_cuda() as machine:
        call(torch.randn(4, 4, device='cuda'))
        machine.check(0, 'x')


@pytest.mark.parametrize(('message', 'call'), cases(MIXED))
def test_mixed_devices_and_dtypes_raise(message: str, call: Call) -> None:
    with fake_cuda(), pytest.raises(RuntimeError, match=message):
        call(torch.randn(4, 4, device='cuda'))


def test_gradients_have_the_shapes_dtypes_and_device_of_their_tensors() -> None:
    with fake_cuda() as machine:
        x = torch.ones(3, 2, device='cuda', requires_grad=True)
        scale = torch.ones(2, device='cuda', dtype=torch.half, requires_grad=True)
        (x * scale)[x > 0].sum().backward()
        assert machine.waits[-1] == ('mask', 'backward of IndexBackward0')
        for tensor in (x, scale):
            assert (tensor.grad.shape, tensor.grad.dtype) == (tensor.shape, tensor.dtype)
            assert tensor.grad.is_cuda


def test_the_process_is_left_as_it_was() -> None:
    before = torch.cuda.is_available(), torch.Tensor.backward
    with pytest.raises(ZeroDivisionError), fake_cuda():
        raise ZeroDivisionError
    assert (torch.cuda.is_available(), torch.Tensor.backward) == before
    x = torch.ones(2, requires_grad=True)
    x.square().sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
