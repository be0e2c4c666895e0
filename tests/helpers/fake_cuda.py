"""One CUDA device on a machine without any: tensors of a shape, dtype and device, without values.

Tensors on ``cuda`` are those of torch's ``FakeTensorMode``: every operation checks devices, dtypes
(those of autocast too) and shapes, forward and backward, and computes nothing. Tensors on the CPU
are real. What the host waits for is noted with the line that asks for it, and answered so that any
model runs on: a number is one, a mask is half true, non-maximum suppression keeps half, and what
comes back from the device is zero.
"""

import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import arg_tree_leaves, tree_map_only

aten = torch.ops.aten
ROOT, TORCH = Path(__file__).parents[2], f'{Path(torch.__file__).parent}/'
PATCHES = {
    'torch.cuda.is_available': lambda: True,
    'torch.cuda.device_count': lambda: 1,
    'torch.cuda.current_device': lambda: 0,
    'torch.cuda.get_device_capability': lambda device=None: (9, 0),
    'torch.cuda.is_bf16_supported': lambda including_emulation=True: True,
    'torch._subclasses.fake_tensor.init_gpu_context': lambda device: None,
    # One copy, where fake tensors ask for number after number.
    'torch._subclasses.fake_tensor.FakeTensor.tolist': lambda self: self.cpu().tolist(),
}
FOUND = {
    # How many rows an operation has whose result's shape depends on values.
    aten.nonzero.default: lambda x: (_half(x), x.ndim),
    aten.masked_select.default: lambda x, mask: (_half(mask),),
    aten._unique2.default: lambda x, *args, **kwargs: (x.numel(),),
    aten.repeat_interleave.Tensor: lambda repeats: (len(repeats),),
    aten.bincount.default: lambda x, weights=None, minlength=0: (max(minlength, 1),),
}
INDEXED = (
    *(aten.index.Tensor, aten.index_put.default, aten.index_put_.default),
    *(aten._index_put_impl_.default, aten._unsafe_index_put.default, aten._unsafe_index.Tensor),
)
SAME_DTYPE = {
    # Kernels that refuse mixed dtypes; what runs for fake tensors does not always.
    *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default),
    *(aten.convolution.default, aten.convolution_backward.default, aten.lerp.Tensor),
    *(aten.native_layer_norm.default, aten.native_group_norm.default),
    *(aten.scatter.src, aten.scatter_add.default, aten.masked_scatter.default),
}
DRAWS = {aten.normal_.default, aten.uniform_.default, aten.erfinv_.default}


class Wait(NamedTuple):
    """Something that the host waits for."""

    kind: str
    place: str


class _Mode(FakeTensorMode):
    """A mode that never touches the driver, though a device is said to be there."""

    avoid_device_init = True


class FakeCuda(TorchDispatchMode):
    """Runs what is on the device by fake tensors, and notes what the host waits for.

    Counted are numbers read (``item``, ``float``, ``if``), results whose size depends on values
    (``nonzero``, boolean masks, NMS), and blocking copies in both directions, ``torch.tensor(...,
    device='cuda')`` among them. Copies with ``non_blocking=True`` are not: memory is taken to be
    pinned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = _Mode(allow_non_fake_inputs=True)
        self.waits: list[Wait] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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
        kind = _waits(func, args, kwargs)
        if kind:
            self.waits.append(Wait(kind, _place()))
        out = _run(func, args, kwargs)
        if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
            return args[0]
        return tree_map_only(FakeTensor, _come_back, out)

    def check(self, allowed: int, name: str) -> None:
        """Fail if the host waited more often than is allowed; list the lines."""
        found = Counter(self.waits)
        lines = [f'  {times:4} x {kind:10} {place}' for (kind, place), times in found.most_common()]
        assert len(self.waits) <= allowed, (
            f'{name}: the host waits {len(self.waits)} times for the device, allowed are '
            f'{allowed}:\n' + '\n'.join(lines)
        )


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Make torch believe in one device while the block runs; move models there with ``to``.

    ``waits`` of what is yielded are the host's synchronisations so far: clear it when the model
    has been moved.
    """
    machine = FakeCuda()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in PATCHES.items():
            patch.setattr(name, value)
        overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        patch.setattr(torch.Tensor, 'backward', backward)
        # Choosing a fused kernel asks the driver for the kind of device.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(machine.fake)
        stack.enter_context(machine)
        yield machine


def backward(loss: Tensor, gradient: Tensor | None = None, **options: Any) -> None:
    """Do what autograd's engine does, which would ask the driver for streams."""
    root = loss.grad_fn
    waiting: Counter[Any] = Counter()
    nodes, seen = [root], {root}
    while nodes:
        for target, _ in _edges(nodes.pop()):
            waiting[target] += 1
            if target not in seen:
                seen.add(target)
                nodes.append(target)
    grads: defaultdict[Any, dict[int, Tensor]] = defaultdict(dict)
    grads[root][0] = torch.ones_like(loss) if gradient is None else gradient
    ready = [root]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            for (target, number), grad in zip(
                _edges(node), _call(node, grads.pop(node, {})), strict=True
            ):
                if grad is not None:
                    known, grad = grads[target].get(number), _fitting(grad, target, number)
                    grads[target][number] = grad if known is None else known + grad
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)


def _edges(node: Any) -> list[tuple[Any, int]]:
    return [edge for edge in node.next_functions if edge[0] is not None]


def _fitting(grad: Tensor, node: Any, number: int) -> Tensor:
    """Sum a gradient over what was broadcast, in the dtype of what it is the gradient of."""
    wanted = node._input_metadata[number]
    assert grad.is_cuda == (wanted.device.type == 'cuda'), f'{node.name()}: {grad.device}'
    return grad.sum_to_size(wanted.shape).to(wanted.dtype)


def _call(node: Any, grads: dict[int, Tensor]) -> list[Tensor | None]:
    """Return the gradients of a node's edges."""
    if hasattr(node, 'variable'):
        variable = node.variable
        variable.grad = grads[0] if variable.grad is None else variable.grad + grads[0]
        return []
    if not grads:
        return [None] * len(_edges(node))
    given = [grads.get(number) for number in range(len(node._input_metadata))]
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        found, wanted = node.apply(*given), node.needs_input_grad
    else:
        found, wanted = node(*given), [target for target, _ in node.next_functions]
    found = found if isinstance(found, tuple) else (found,)
    return [grad for grad, want in zip(found, wanted, strict=True) if want]


class NoDraws(TorchDispatchMode):
    """Leaves out the drawing of random initial weights, which takes longer than all the rest."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in DRAWS else func(*args, **(kwargs or {}))


def train_step(model: nn.Module, batch: dict, amp: torch.dtype | None = None) -> None:
    """Run preprocessing, losses and the backward pass of a batch on the model's device."""
    data = model.data_preprocessor(batch, True)
    with torch.autocast('cuda', dtype=amp or torch.float16, enabled=amp is not None):
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert (loss.device.type, loss.dtype) == ('cuda', torch.float32)
    loss.backward()


def _half(x: Tensor) -> int:
    return max(x.numel() // 2, 1)


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _crosses(source: Tensor, target: str, non_blocking: bool) -> str | None:
    if source.device.type == target or non_blocking:
        return None
    return 'to device' if target == 'cuda' else 'to host'


def _waits(func: Any, args: Any, kwargs: Any) -> str | None:
    """Return the kind of wait that an operation on the device is, if it is one."""
    if func is aten._to_copy.default:
        target = torch.device(kwargs.get('device') or args[0].device).type
        return _crosses(args[0], target, kwargs.get('non_blocking', False))
    if func is aten.copy_.default:
        return _crosses(args[1], args[0].device.type, args[2] if len(args) > 2 else False)
    if func in INDEXED:
        indices = [index for index in args[1] if index is not None]
        if any(index.device.type == 'cpu' for index in indices) and args[0].is_cuda:
            return 'to device'
        filled = len(args) > 2 and args[2].numel() == 1 and True not in args[3:]  # masked_fill
        return 'mask' if any(_is_mask(index) for index in indices) and not filled else None
    if func in (aten._local_scalar_dense.default, aten.equal.default):
        return 'item'
    if func is torch.ops.torchvision.nms.default:
        return 'nms'
    return func.overloadpacket.__name__ if func in FOUND else None


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on fake tensors, with an answer where it depends on values."""
    if func is aten._local_scalar_dense.default:
        dtype = args[0].dtype
        return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1
    if func is aten.equal.default:
        return True
    if func is torch.ops.torchvision.nms.default:
        assert args[0].device == args[1].device
        assert args[0].dtype == args[1].dtype
        return args[0].new_empty(max(len(args[0]) // 2, 1), dtype=torch.int64)
    if func is aten._unique2.default:
        values = args[0].new_empty(FOUND[func](*args))
        inverse = torch.empty_like(args[0], dtype=torch.int64)
        return values, inverse, torch.empty_like(values, dtype=torch.int64)
    if func in FOUND:
        keeps = func is aten.masked_select.default
        shape = FOUND[func](*args, **kwargs)
        return args[0].new_empty(shape, dtype=args[0].dtype if keeps else torch.int64)
    if func in INDEXED:
        if len(args) > 2 and args[2].dtype != args[0].dtype:
            raise RuntimeError(
                f'{func} needs tensors of one dtype, got {args[0].dtype} and {args[2].dtype}'
            )
        indices: list[Any] = []
        for index in args[1]:
            if _is_mask(index):  # so many rows of each of its axes
                rows = torch.empty(_half(index), dtype=torch.int64, device=index.device)
                indices += [rows] * index.ndim
            else:
                indices.append(index)
        args = (args[0], indices, *args[2:])
    return func(*args, **kwargs)


def _come_back(x: FakeTensor) -> Tensor:
    """Return a real tensor for one on the CPU."""
    if x.device.type != 'cpu':
        return x
    with unset_fake_temporarily():
        return torch.zeros(x.shape, dtype=x.dtype)


def _place() -> str:
    """Return file and line of whoever called torch, or the node of the backward pass."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code is backward.__code__:
            return f'backward of {frame.f_locals["node"].name()}'
        if _counts(frame.f_code.co_filename):
            return _short(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return '?'


def place_of(error: BaseException) -> str:
    """Return file and line of whoever called the operation of torch that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if _counts(frame.filename)][-1]
    return _short(last.filename, last.lineno)


def _counts(path: str) -> bool:
    return not path.startswith(TORCH) and path != __file__


def _short(path: str, line: int | None) -> str:
    return f'{path.split("/site-packages/")[-1].removeprefix(f"{ROOT}/")}:{line}'
