"""One CUDA device on a machine without any: tensors of a shape, dtype and device, without values.

Operations on ``cuda`` check devices, dtypes and shapes, and compute nothing; those on the CPU are
real. What the host waits for is noted with its line, and answered so that any model runs on: a
number is one, a mask is half true, NMS keeps half, and what comes back is zero.
"""

import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import arg_tree_leaves, tree_map

aten = torch.ops.aten
Cached = type(cache(lambda: None))
ROOT, TORCH = Path(__file__).parents[2], f'{Path(torch.__file__).parent}/'
PATCHES = {
    'torch.cuda.is_available': lambda: True,
    'torch.cuda.device_count': lambda: 1,
    'torch.cuda.current_device': lambda: 0,
    'torch.cuda.get_device_capability': lambda device=None: (9, 0),
    'torch.cuda.is_bf16_supported': lambda including_emulation=True: True,
    'torch._subclasses.fake_tensor.init_gpu_context': lambda device: None,
    'torch._subclasses.fake_tensor.FakeTensorMode.avoid_device_init': True,
    # A parameter that two names lead to is moved once, and a second time to where it is.
    'torch.utils.swap_tensors': lambda a, b, swap=torch.utils.swap_tensors: (
        None if a.dtype == b.dtype else swap(a, b)
    ),
    # One copy, where fake tensors ask for number after number.
    'torch._subclasses.fake_tensor.FakeTensor.tolist': lambda self: self.cpu().tolist(),
}
ANSWERS = {
    # What depends on values: its name in the list, and what a step goes on with.
    aten._local_scalar_dense.default: ('item', lambda x: 1.0 if x.is_floating_point() else 1),
    aten.equal.default: ('item', lambda x, y: True),
    aten.nonzero.default: ('nonzero', lambda x: _ids(x, _half(x), x.ndim)),
    aten.masked_select.default: ('mask', lambda x, mask: x.new_empty(_half(mask))),
    aten._unique2.default: ('unique', lambda x, *_, **__: (x.flatten(), *[_ids(x, x.numel())] * 2)),
    torch.ops.torchvision.nms.default: ('nms', lambda boxes, *_: _ids(boxes, _half(boxes[:, 0]))),
}
INDEXED = {
    *(aten.index.Tensor, aten.index_put.default, aten.index_put_.default),
    *(aten._index_put_impl_.default, aten._unsafe_index_put.default, aten._unsafe_index.Tensor),
}
SAME_DTYPE = {
    # Kernels that refuse mixed dtypes; what runs for fake tensors does not always.
    *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default),
    *(aten.convolution.default, aten.convolution_backward.default, aten.lerp.Tensor),
    *(aten.native_layer_norm.default, aten.native_group_norm.default),
    *(aten.scatter.src, aten.scatter_add.default, aten.masked_scatter.default),
}
DRAWS = (aten.normal_.default, aten.uniform_.default, aten.erfinv_.default)


class FakeCuda(TorchDispatchMode):
    """Runs what is on the device by fake tensors, and notes what the host waits for.

    That is for numbers read, results whose size depends on values, and copies either way but for
    those with ``non_blocking=True``: memory is taken to be pinned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: list[tuple[str, str]] = []  # what, and where

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked for by C++ all the time
            return args[0].fake_device
        kwargs = kwargs or {}
        tensors = [x for x in arg_tree_leaves(*args, **kwargs) if isinstance(x, Tensor)]
        there = any(isinstance(x, FakeTensor) for x in tensors)
        target = torch.device(kwargs.get('device') or 'cpu').type
        if not there and target != 'cuda':
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        dtypes = {x.dtype for x in tensors if x.is_floating_point()}
        if func in SAME_DTYPE and len(dtypes) > 1:
            raise RuntimeError(f'{func} needs tensors of one dtype, got {dtypes}')
        kind, answer = ANSWERS.get(func, (_copies(func, args, kwargs), func))
        if func in INDEXED:
            kind, args = _masks(args)
        if kind:
            self.waits.append((kind, place_of(traceback.walk_stack(None))))
        out = answer(*args, **kwargs)
        if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
            return args[0]
        return _come_back(out) if isinstance(out, FakeTensor) else tree_map(_come_back, out)

    def check(self, allowed: int, name: str) -> None:
        """Fail if the host waited more often than is allowed; list the lines."""
        found = Counter(self.waits).most_common()
        lines = [f'  {times:4} x {kind:10} {place}' for (kind, place), times in found]
        waits = f'the host waits {len(self.waits)} times for the device, allowed are {allowed}'
        assert len(self.waits) <= allowed, '\n'.join([f'{name}: {waits}:', *lines])


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Make torch believe in one device; move a model there with ``to``, then clear ``waits``."""
    machine = FakeCuda()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in PATCHES.items():
            patch.setattr(name, value)
        patch.setattr(torch.Tensor, 'backward', backward)
        # Choosing a fused kernel asks the driver for the kind of device.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(_forget)
        stack.enter_context(machine.fake)
        stack.enter_context(machine)
        yield machine


def _forget() -> None:
    """Empty our caches, which may hold tensors of this device."""
    ours = [m for key, m in sys.modules.items() if key.startswith(('lightvit_dense', 'tracking'))]
    for cached in (value for module in ours for value in vars(module).values()):
        if isinstance(cached, Cached):  # not a module that has an operator of any name
            cached.cache_clear()


def backward(loss: Tensor, **options: Any) -> None:
    """Do what autograd's engine does, which would ask the driver for streams."""
    waiting: Counter[Any] = Counter()
    nodes, ready = [loss.grad_fn], [loss.grad_fn]
    for node in nodes:
        for target, _ in node.next_functions:
            if target is not None and target not in waiting:
                nodes.append(target)
            waiting[target] += 1
    grads: defaultdict[Any, dict[int, Tensor]] = defaultdict(dict)
    grads[loss.grad_fn][0] = torch.ones_like(loss)
    with torch.no_grad():
        while ready:
            node = ready.pop()
            for (target, number), grad in _pull_back(node, grads.pop(node, {})):
                if grad is not None:
                    wanted = target._input_metadata[number]  # what was broadcast is summed
                    grad = grad.sum_to_size(wanted.shape).to(wanted.dtype)
                    known = grads[target].get(number)
                    grads[target][number] = grad if known is None else known + grad
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)


def _pull_back(node: Any, grads: dict[int, Tensor]) -> list[tuple[Any, Tensor | None]]:
    """Return the edges of a node of autograd's graph, and the gradient for each."""
    edges = [edge for edge in node.next_functions if edge[0] is not None]
    if not grads:
        return [(edge, None) for edge in edges]
    if hasattr(node, 'variable'):
        known = node.variable.grad
        node.variable.grad = grads[0] if known is None else known + grads[0]
        return []
    given = [grads.get(number) for number in range(len(node._input_metadata))]
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        found, wanted = node.apply(*given), node.needs_input_grad
    else:
        found, wanted = node(*given), [target for target, _ in node.next_functions]
    found = found if isinstance(found, tuple) else (found,)
    found = [grad for grad, want in zip(found, wanted, strict=True) if want]
    return list(zip(edges, found, strict=True))


class NoDraws(TorchDispatchMode):
    """Leaves out the drawing of random initial weights, which takes longer than all the rest."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in DRAWS else func(*args, **(kwargs or {}))


def train_step(model: nn.Module, batch: dict, amp: torch.dtype | None, name: str) -> None:
    """Run preprocessing, losses and the backward pass; an error says in what and where."""
    try:
        data = model.data_preprocessor(batch, True)
        with torch.autocast('cuda', dtype=amp or torch.float16, enabled=amp is not None):
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        assert (loss.device.type, loss.dtype) == ('cuda', torch.float32)
        loss.backward()
    except Exception as error:
        place = place_of(reversed(list(traceback.walk_tb(error.__traceback__))))
        raise AssertionError(f'{name}: {place}: {type(error).__name__}: {error}') from error


def _half(x: Tensor) -> int:
    return max(x.numel() // 2, 1)


def _ids(x: Tensor, *shape: int) -> Tensor:
    return x.new_empty(shape, dtype=torch.int64)


def _copies(func: Any, args: Any, kwargs: Any) -> str | None:
    """Return which way a blocking copy goes, if an operation is one."""
    if func is aten._to_copy.default:
        source, target, free = args[0], kwargs.get('device'), kwargs.get('non_blocking')
    elif func is aten.copy_.default:
        source, target, free = args[1], args[0].device, args[2:] == (True,)
    else:
        return None
    if free or target is None or torch.device(target).type == source.device.type:
        return None
    return 'to host' if source.is_cuda else 'to device'


def _masks(args: Any) -> tuple[str | None, Any]:
    """Return the kind of wait of an indexing, if it is one, and arguments with rows for masks."""
    x, given, *rest = args
    if rest and rest[0].dtype != x.dtype:
        raise RuntimeError(f'indexing: values are {rest[0].dtype}, they are put into {x.dtype}')
    kind, indices = None, []
    for index in given:
        if index is not None and not index.is_cuda:
            kind = 'to device'
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            indices.append(index)
        else:
            kind = kind or 'mask'
            indices += [_ids(index, _half(index))] * index.ndim
    filled = rest and rest[0].numel() == 1 and rest[1:2] != [True]  # a masked_fill
    return None if filled and kind == 'mask' else kind, (x, indices, *rest)


def _come_back(x: Any) -> Any:
    """Return a real tensor for one on the CPU."""
    if not isinstance(x, FakeTensor) or x.fake_device.type == 'cuda':
        return x
    with unset_fake_temporarily():
        return torch.zeros(x.shape, dtype=x.dtype)


def place_of(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Return file and line of the first frame beyond torch, or the node of the backward pass."""
    for frame, line in frames:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path == __file__ and name == 'backward':
            return f'backward of {frame.f_locals["node"].name()}'
        if not path.startswith(TORCH) and path != __file__ and name != '__torch_function__':
            return f'{path.split("/site-packages/")[-1].removeprefix(f"{ROOT}/")}:{line}'
    return '?'
