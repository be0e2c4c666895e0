"""Size, throughput, latency and memory of one classifier, each as a cell of a table.

A cell is a dict: what was measured, ``{'error': why}``, or ``{'unavailable': why}`` for what this
machine lacks. How to measure is told by the options of the case ``classification_speed``.
"""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.deploy import compare_onnx, export_onnx, onnx_session
from lightvit_dense.errors import UserError
from lightvit_dense.utils import environment

from . import harness
from .references.classifiers import Classifier, prepare

Cell = dict[str, Any]
# Relative to the largest logit. Half precision differs by rounding alone.
TOLERANCE = {'none': 1e-3, 'bf16': 0.1, 'fp16': 0.05}


class Unavailable(Exception):
    """Something that a mode needs is not on this machine."""


class Inference:
    """A model on its device and in its precision, called with a batch of random images."""

    def __init__(self, model: nn.Module, size: int, args: Namespace) -> None:
        self.device, self.size, self.args = torch.device(args.device), size, args
        self.layout = torch.channels_last if args.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]

    def images(self, batch: int) -> Tensor:
        """Return random images [batch, 3, size, size], the same at each call."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(batch, 3, self.size, self.size, generator=generator)
        return images.to(self.device, memory_format=self.layout)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits."""
        with harness.autocast(self.device, self.args.amp):
            return self.model(images)


def timed_calls(call: harness.Call, repeats: int, args: Namespace) -> list[float]:
    """Return the seconds of calls that the options allow."""
    return environment.time_calls(call, repeats, args.warmup, args.device, args.budget)


def size_cell(model: nn.Module, size: int) -> Cell:
    """Count parameters and arithmetic of one image; a multiply-add is two FLOPs and one MAC."""
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        flops = environment.count_flops(lambda: model(image))
    count = sum(p.numel() for p in model.parameters())
    return {'parameters': count, 'flops': flops, 'macs': flops // 2}


def fit_batch(run: Callable[[int], float], wanted: int, seconds: float) -> int:
    """Halve a batch until one call of it fits into memory and time; returns a batch that has run.

    ``run`` runs a batch of some size and returns its seconds. The time is foretold from an eighth
    of the batch, so that the peak of memory is that of the batch which is taken in the end.
    """

    def fits(size: int) -> float | None:
        try:
            return run(size)
        except (RuntimeError, MemoryError) as error:
            text = str(error).lower()
            lacking = isinstance(error, (torch.OutOfMemoryError, MemoryError))
            lacking = lacking or 'allocate memory' in text or 'enough memory' in text
            if size == 1 or not lacking:
                raise
            return None

    probe, batch = max(1, wanted // 8), wanted
    # The first call also sets things up; the second tells the time.
    while fits(probe) is None or (taken := fits(probe)) is None:
        probe, batch = probe // 2, batch // 2
    while batch > 1 and batch * taken / probe > seconds:
        batch //= 2
    while fits(batch) is None:
        batch //= 2
    return batch


def throughput_cell(inference: Inference, args: Namespace) -> Cell:
    """Time eager batches, with the memory of weights and batches: on a CPU what it grew by."""
    device = inference.device
    weights = sum(p.numel() * p.element_size() for p in inference.model.parameters()) / 2**20
    held = harness.held_memory_mb(device) - weights if device.type == 'cpu' else 0.0

    def run(batch: int) -> float:
        if device.type == 'cuda':
            torch.cuda.empty_cache()
        environment.reset_peak_memory(device)
        images = inference.images(batch)
        return environment.time_calls(lambda: inference(images), 1, 0, device)[0]

    batch = fit_batch(run, args.batch, args.budget / environment.MIN_CALLS)
    images = inference.images(batch)
    seconds = timed_calls(lambda: inference(images), max(1, args.repeats // 3), args)
    return {
        'batch': batch,
        'seconds': seconds,
        'peak_memory_mb': environment.peak_memory_mb(device) - held,
    }


def _check(relative: float, tolerance: float, what: str) -> float:
    if not relative <= tolerance:
        raise ValueError(f'{what} differs from eager torch by {relative:.1e} of the largest logit')
    return relative


def compiled(inference: Inference) -> tuple[harness.Call, float]:
    """Return a call of one image after ``torch.compile``, and how far its logits are off."""
    if environment.cpp_compiler() is None:
        raise Unavailable('no compiler')
    other, image = copy(inference), inference.images(1)
    other.model = torch.compile(inference.model)  # type: ignore[assignment]
    expected = inference(image).float()
    error = ((other(image).float() - expected).abs().max() / expected.abs().max()).item()
    tolerance = TOLERANCE[inference.args.amp]
    return lambda: other(image), _check(error, tolerance, 'the compiled model')


def onnx(model: nn.Module, image: Tensor, args: Namespace) -> tuple[harness.Call, float]:
    """Return a call of one image in ONNX Runtime (CPU, fp32), and how far its logits are off."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(model, Path(folder) / 'model.onnx', image, dynamic_batch=False)
            session = onnx_session(path, args.threads or torch.get_num_threads())
    except UserError as error:
        raise Unavailable('not installed') from error
    error = _check(compare_onnx(session, model, image).relative, TOLERANCE['none'], 'ONNX Runtime')
    return lambda: session.run(None, {'image': image.numpy()}), error


MODES = {
    'throughput': 'images/s',
    'latency': 'ms for one image, eager',
    'onnx': 'ms for one image, ONNX Runtime on the CPU',
    'compiled': 'ms for one image, compiled',
}
"""What can be measured besides the size, in this order; throughput first, for its peak memory."""


def _attempt(measurement: Callable[[], Cell]) -> Cell:
    """Return a cell whatever happens."""
    try:
        return measurement()
    except Unavailable as missing:
        return {'unavailable': str(missing)}
    except Exception as error:
        harness.progress(f'{type(error).__name__}: {error}')
        first = next(iter(str(error).strip().splitlines()), '')
        return {'error': f'{type(error).__name__}: {first}'[:300]}


def measure_model(entry: Classifier, wanted: Sequence[str], args: Namespace) -> dict[str, Cell]:
    """Measure the size and some of ``MODES`` of a model, in a process of its own.

    If the model cannot be built, all cells are errors.
    """
    built: list[nn.Module] = []

    def build() -> Cell:
        built.append(prepare(entry))
        return size_cell(built[0], entry.size)

    cells = {'size': _attempt(build)}
    if not built:
        error = {'error': 'the model was not built: ' + cells['size']['error']}
        return cells | {mode: error for mode in wanted}
    # ONNX takes it in fp32 on the CPU, in the usual layout.
    plain = deepcopy(built[0]) if 'onnx' in wanted else built[0]
    inference = Inference(built[0], entry.size, args)
    image = inference.images(1)
    on_cpu = image.contiguous().cpu()

    def latency(call: harness.Call, error: float) -> Cell:
        return {'seconds': timed_calls(call, args.repeats, args), 'relative_error': error}

    measurements: dict[str, Callable[[], Cell]] = {
        'throughput': lambda: throughput_cell(inference, args),
        'latency': lambda: latency(lambda: inference(image), 0.0),
        'onnx': lambda: latency(*onnx(plain, on_cpu, args)),
        'compiled': lambda: latency(*compiled(inference)),
    }
    return cells | {mode: _attempt(measurements[mode]) for mode in MODES if mode in wanted}
