"""That the fake device finds what it is there to find."""

from typing import Any

import pytest
import torch

from tests.helpers.fake_cuda import FakeCuda, fake_cuda

WAITS = {
    'item': ['x.sum().item()', 'float(x[0, 0])', 'not x.any()', 'torch.equal(x, x)'],
    'nonzero': ['x.nonzero()', 'torch.where(x > 0)', 'x.argwhere()'],
    'mask': ['x[x > 0]', 'x[:, x[0] > 0]', 'x.masked_select(x > 0)'],
    'unique': ['x.unique()'],
    'nms': ['torch.ops.torchvision.nms(x, x[0], 0.5)'],
    'to host': ['x.cpu()', 'x.tolist()', 'cpu.copy_(x)'],
    'to device': [
        'x.new_tensor([3.0])',
        'cpu.to(x.device)',
        'x[torch.tensor([0])]',
        'x.copy_(cpu)',
    ],
}
FREE = (
    *('torch.arange(4, device=x.device) + torch.tensor(2.0)', 'x.masked_fill(x > 0, 0.0)'),
    *('x.__setitem__(x > 0, 0.0)', 'torch.where(x > 0, x, 0.0).new_zeros(3)', 'cpu.sum().item()'),
    'cpu.to("cuda", non_blocking=True)',
)
MIXED = {
    'cuda.*cpu': ['x + cpu', 'torch.cat([x, cpu])'],
    'float16': ['x.half() @ x', 'x.index_put((x[0].long(),), x.half())'],
}


def run(code: str) -> FakeCuda:
    with fake_cuda() as machine:
        names: dict[str, Any] = dict(torch=torch, cpu=torch.zeros(4, 4))
        names['x'] = torch.randn(4, 4, device='cuda')
        eval(compile(code, 'case.py', 'eval'), names)
    return machine


@pytest.mark.parametrize(('kind', 'code'), [(key, code) for key in WAITS for code in WAITS[key]])
def test_what_the_host_waits_for_is_listed_with_its_place(kind: str, code: str) -> None:
    machine = run(code)
    assert (kind, 'case.py:1') in machine.waits
    with pytest.raises(AssertionError, match=r'x: the host waits \d times [\s\S]* case.py:1'):
        machine.check(0, 'x')


@pytest.mark.parametrize('code', FREE)
def test_what_it_does_not_wait_for_is_not(code: str) -> None:
    run(code).check(0, 'x')


@pytest.mark.parametrize(('message', 'code'), [(key, code) for key in MIXED for code in MIXED[key]])
def test_mixed_devices_and_dtypes_raise(message: str, code: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(code)


def test_gradients_have_the_shapes_dtypes_and_device_of_their_tensors() -> None:
    with fake_cuda() as machine:
        x = torch.ones(3, 2, device='cuda', requires_grad=True)
        scale = torch.ones(2, device='cuda', dtype=torch.half, requires_grad=True)
        (x * scale)[x > 0].sum().backward()
        assert machine.waits[-1] == ('mask', 'backward of IndexBackward0')
        for grad, tensor in ((x.grad, x), (scale.grad, scale)):
            assert (grad.shape, grad.dtype, grad.device) == (tensor.shape, tensor.dtype, x.device)


def test_the_process_is_left_as_it_was() -> None:
    before = torch.cuda.is_available(), torch.Tensor.backward
    with pytest.raises(ZeroDivisionError), fake_cuda():
        raise ZeroDivisionError
    assert (torch.cuda.is_available(), torch.Tensor.backward) == before
    (x := torch.ones(2, requires_grad=True)).square().sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
