"""Size, throughput, latency and memory of one classifier, each as a cell of a table.

A cell is a dict: what was measured, ``{'error': why}``, or ``{'unavailable': why}`` for what this
machine lacks. How to measure is told by the options of the case ``classification_speed``.
"""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.errors import UserError
from lightvit_dense.utils import environment

from . import harness
from .references.classifiers import Classifier, prepare

Cell = dict[str, Any]
Measured = tuple[harness.Call, float]  # a call of one image, and how far its logits are off
TOLERANCE = {'none': 1e-3, 'bf16': 0.1}  # relative to the largest logit
MODES = {
    'throughput': 'images/s',
    'latency': 'ms for one image, eager',
    'compiled': 'ms for one image, compiled',
}
"""What can be measured besides the size, in this order; throughput first, for its peak memory."""


def size_cell(model: nn.Module, size: int) -> Cell:
    """Count parameters and arithmetic of one image; a multiply-add is two FLOPs and one MAC."""
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        flops = environment.count_flops(lambda: model(image))
    return {'parameters': sum(p.numel() for p in model.parameters()), 'macs': flops // 2}


def predict(model: Any, images: Tensor, args: Namespace) -> Tensor:
    """Return the logits in the precision that was asked for."""
    with torch.inference_mode(), harness.autocast(args):
        return model(images)


def throughput(model: nn.Module, images: Tensor, args: Namespace) -> Cell:
    """Time eager batches, with the memory of weights and batches: on a CPU what it grew by."""
    call = partial(predict, model, images, args)
    memory = harness.measure_memory({'batch': call}, args.device)['batch']
    known = sum(t.numel() * t.element_size() for t in (*model.parameters(), images)) / 2**20
    peak = memory['grown_mb'] + known if args.device == 'cpu' else memory['peak_mb']
    repeats = max(1, args.repeats // 3)
    seconds = environment.time_calls(call, repeats, 0, args.device, args.budget)
    return {'batch': len(images), 'seconds': seconds, 'peak_memory_mb': peak}


def compiled(model: nn.Module, image: Tensor, args: Namespace) -> Measured:
    """Compile the model, and compare it with the eager one."""
    if environment.cpp_compiler() is None:
        raise UserError('no compiler')
    fast, expected = torch.compile(model), predict(model, image, args).float()
    error = (predict(fast, image, args).float() - expected).abs().max() / expected.abs().max()
    return partial(predict, fast, image, args), error.item()


def attempt(measurement: Callable[[], Cell]) -> Cell:
    """Return a cell whatever happens."""
    try:
        return measurement()
    except UserError as missing:
        return {'unavailable': str(missing)}
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), '')
        return {'error': f'{type(error).__name__}: {first}'[:300]}


def measure_model(entry: Classifier, args: Namespace) -> dict[str, Cell]:
    """Measure the size and some of ``MODES`` of a model, in a process of its own.

    If the model cannot be built, all cells are errors.
    """
    built = attempt(lambda: {'model': prepare(entry)})
    if 'model' not in built:
        return dict.fromkeys(('size', *args.modes), built)
    size = attempt(lambda: size_cell(built['model'], entry.size))
    model, generator = built['model'].to(args.device), torch.Generator().manual_seed(1)
    images = torch.randn(args.batch, 3, entry.size, entry.size, generator=generator)
    images = images.to(args.device)
    image = images[:1].clone()

    def latency(call: harness.Call, error: float, tolerance: float) -> Cell:
        if not error <= tolerance:
            raise ValueError(f'it differs from eager torch by {error:.1e} of the largest logit')
        seconds = environment.time_calls(call, args.repeats, 2, args.device, args.budget)
        return {'seconds': seconds, 'relative_error': error}

    measurements: dict[str, Callable[[], Cell]] = {
        'throughput': lambda: throughput(model, images, args),
        'latency': lambda: latency(partial(predict, model, image, args), 0.0, 0.0),
        'compiled': lambda: latency(*compiled(model, image, args), TOLERANCE[args.amp]),
    }
    return {'size': size} | {m: attempt(measurements[m]) for m in MODES if m in args.modes}
