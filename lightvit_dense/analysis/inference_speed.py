"""Size, arithmetic, throughput, latency and memory of one classifier, each as a cell of a table.

A cell is a dict: what was measured, ``{'error': why}``, or ``{'unavailable': why}`` for what this
machine lacks.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.utils import environment as measure

from ..errors import UserError
from .classification_models import SpeedModel, prepare
from .training_step import DTYPES

MIN_CALLS = 3
# Relative to the largest logit. Half precision differs by rounding alone.
_TOLERANCE = {'none': 1e-3, 'bf16': 0.1, 'fp16': 0.05}


class Unavailable(Exception):
    """Something that a mode needs is not on this machine."""


@dataclass(frozen=True)
class SpeedSettings:
    """How to measure.

    Attributes:
        device: 'cpu' or 'cuda'.
        amp: Precision, a key of ``DTYPES``; ONNX Runtime always runs in fp32.
        channels_last: Whether images and weights lie in memory with their channels last.
        threads: Threads on the CPU; torch's and ONNX Runtime's choice for None.
        batch: Images of a throughput batch, halved until it fits.
        budget: Seconds that the timed calls of a mode may take, though at least ``MIN_CALLS`` are
            made.
        repeats: Largest number of timed calls of the latency; a throughput has a third of it.
        warmup: Calls before, not timed.
    """

    device: str = 'cpu'
    amp: str = 'none'
    channels_last: bool = False
    threads: int | None = None
    batch: int = 16
    budget: float = 6.0
    repeats: int = 30
    warmup: int = 2


class Inference:
    """A model on its device and in its precision, called with a batch of random images.

    Args:
        model: In fp32 on the CPU; it is moved.
        size: Side of its images in pixels.
        settings: How to measure.
    """

    def __init__(self, model: nn.Module, size: int, settings: SpeedSettings) -> None:
        self.device, self.size, self.amp = torch.device(settings.device), size, settings.amp
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]

    def images(self, batch: int) -> Tensor:
        """Return random images [batch, 3, size, size], the same at each call."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(batch, 3, self.size, self.size, generator=generator)
        return images.to(self.device, memory_format=self.layout)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits."""
        with torch.autocast(self.device.type, DTYPES[self.amp], enabled=self.amp != 'none'):
            return self.model(images)


def timed_calls(
    call: Callable[[], object], repeats: int, settings: SpeedSettings
) -> tuple[float, ...]:
    """Time calls until there are ``repeats`` of them or the budget is spent.

    Returns:
        Seconds, at least ``MIN_CALLS`` of them, unless ``repeats`` is less.
    """
    device = torch.device(settings.device)
    for _ in range(settings.warmup):
        call()
    seconds: tuple[float, ...] = ()
    start = time.perf_counter()
    while len(seconds) < repeats:
        seconds += measure.time_calls(call, 1, 0, device).seconds
        if len(seconds) >= MIN_CALLS and time.perf_counter() - start > settings.budget:
            break
    return seconds


def size_cell(model: nn.Module, size: int) -> dict[str, Any]:
    """Count parameters and arithmetic of one image.

    Matrix products, attention and convolutions count; activations, norms and pooling do not.

    Args:
        model: On the CPU.
        size: Side of its images in pixels.

    Returns:
        ``parameters``, ``flops`` and ``macs``; a multiply-add is two FLOPs and one MAC.
    """
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        flops = measure.count_flops(lambda: model(image))
    count = sum(p.numel() for p in model.parameters())
    return {'parameters': count, 'flops': flops, 'macs': flops // 2}


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in text or 'not enough memory' in text)
    )


def fit_batch(run: Callable[[int], float], wanted: int, seconds: float) -> int:
    """Halve a batch until one call of it fits into memory and time.

    The time is foretold from an eighth of the batch, so that the peak of memory is that of the
    batch which is taken in the end.

    Args:
        run: Runs a batch of this size; returns its seconds.
        wanted: Largest batch.
        seconds: Longest time of a call.

    Returns:
        A batch of at least 1 that has run.

    Raises:
        RuntimeError: If not even one image fits into memory.
    """
    probe = max(1, wanted // 8)
    batch = wanted
    while True:
        try:
            run(probe)  # the first call also sets things up
            each = run(probe) / probe
            break
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error) or probe == 1:
                raise
            probe //= 2
            batch //= 2
    while batch > 1 and batch * each > seconds:
        batch //= 2
    while True:
        try:
            run(batch)
            return batch
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error) or batch == 1:
                raise
            batch //= 2


def _resident_mb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def throughput_cell(inference: Inference, settings: SpeedSettings) -> dict[str, Any]:
    """Measure images per second of eager batches, and the memory they need.

    Args:
        inference: The model, which has run before, so that libraries are loaded.
        settings: How to measure.

    Returns:
        ``batch``, ``seconds`` of each, and ``peak_memory_mb`` of weights and batches in MiB: on a
        GPU what was allocated, on a CPU the weights and what the process grew by.
    """
    device = inference.device
    weights = sum(p.numel() * p.element_size() for p in inference.model.parameters()) / 2**20
    held = _resident_mb() - weights if device.type == 'cpu' else 0.0

    def run(batch: int) -> float:
        if device.type == 'cuda':
            torch.cuda.empty_cache()
        measure.reset_peak_memory(device)
        images = inference.images(batch)
        return measure.time_calls(lambda: inference(images), 1, 0, device).seconds[0]

    batch = fit_batch(run, settings.batch, settings.budget / MIN_CALLS)
    images = inference.images(batch)
    repeats = max(1, settings.repeats // 3)
    seconds = timed_calls(lambda: inference(images), repeats, settings)
    peak = measure.peak_memory_mb(device) - held
    return {'batch': batch, 'seconds': seconds, 'peak_memory_mb': peak}


def latency_cell(inference: Inference, settings: SpeedSettings) -> dict[str, Any]:
    """Measure the time of one image, eager."""
    image = inference.images(1)
    return {'seconds': timed_calls(lambda: inference(image), settings.repeats, settings)}


def _check(relative: float, tolerance: float, what: str) -> None:
    if not relative <= tolerance:
        raise ValueError(f'{what} differs from eager torch by {relative:.1e} of the largest logit')


def compiled_cell(inference: Inference, settings: SpeedSettings) -> dict[str, Any]:
    """Measure the time of one image after ``torch.compile``, and compare the logits with eager's.

    Raises:
        Unavailable: If there is no C++ compiler.
        ValueError: If the logits differ.
    """
    if measure.cpp_compiler() is None:
        raise Unavailable('no compiler')
    image = inference.images(1)
    expected = inference(image).float()
    eager = inference.model
    start = time.perf_counter()
    try:
        inference.model = torch.compile(eager)  # type: ignore[assignment]
        difference = (inference(image).float() - expected).abs().max() / expected.abs().max()
        compile_s = time.perf_counter() - start
        _check(difference.item(), _TOLERANCE[settings.amp], 'the compiled model')
        seconds = timed_calls(lambda: inference(image), settings.repeats, settings)
    finally:
        inference.model = eager
    return {'seconds': seconds, 'compile_s': compile_s, 'relative_error': difference.item()}


def onnx_cell(model: nn.Module, size: int, settings: SpeedSettings) -> dict[str, Any]:
    """Measure the time of one image in ONNX Runtime on the CPU, and compare the logits.

    Args:
        model: In fp32 on the CPU.
        size: Side of its images in pixels.
        settings: How to measure.

    Raises:
        Unavailable: If ONNX or ONNX Runtime is not installed.
        ValueError: If the logits differ.
    """
    from ..deploy import compare_onnx, export_onnx, onnx_session

    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, size, size, generator=generator)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(model, Path(folder) / 'model.onnx', image, dynamic_batch=False)
            session = onnx_session(path, settings.threads or torch.get_num_threads())
            file_mb = path.stat().st_size / 2**20
    except UserError as error:
        raise Unavailable('not installed') from error
    parity = compare_onnx(session, model, image)
    _check(parity.relative, _TOLERANCE['none'], 'ONNX Runtime')
    feed = {'image': image.numpy()}
    seconds = timed_calls(lambda: session.run(None, feed), settings.repeats, settings)
    return {
        'seconds': seconds,
        'relative_error': parity.relative,
        'largest_error': parity.largest,
        'file_mb': file_mb,
    }


def _attempt(measurement: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a cell whatever happens."""
    try:
        return measurement()
    except Unavailable as missing:
        return {'unavailable': str(missing)}
    except Exception as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        first = next(iter(str(error).strip().splitlines()), '')
        return {'error': f'{type(error).__name__}: {first}'[:300]}


MODES = ('throughput', 'latency', 'compiled', 'onnx')
"""What can be measured besides the size, by the names of the command line."""


def measure_model(
    entry: SpeedModel,
    modes: tuple[str, ...],
    settings: SpeedSettings,
    report: Callable[[str, dict[str, Any]], None],
) -> None:
    """Measure a model in a process of its own.

    Args:
        entry: The model.
        modes: Some of ``MODES``.
        settings: How to measure.
        report: Called with the name of a cell and the cell, as soon as it is there: 'size', then
            the modes. If the model cannot be built, all of them are errors.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    built: list[nn.Module] = []

    def build() -> dict[str, Any]:
        built.append(prepare(entry))
        return size_cell(built[0], entry.size)

    size = _attempt(build)
    report('size', size)
    if not built:
        for mode in modes:
            report(mode, {'error': 'the model was not built: ' + size['error']})
        return
    model = built[0]
    if 'onnx' in modes:
        plain = deepcopy(model)  # stays in fp32 on the CPU, in the usual layout
    inference = Inference(model, entry.size, settings)
    measurements: dict[str, Callable[[], dict[str, Any]]] = {
        # The first, so that the peak of memory is that of eager batches.
        'throughput': lambda: throughput_cell(inference, settings),
        'latency': lambda: latency_cell(inference, settings),
        'onnx': lambda: onnx_cell(plain, entry.size, settings),
        'compiled': lambda: compiled_cell(inference, settings),
    }
    for mode, measurement in measurements.items():
        if mode in modes:
            report(mode, _attempt(measurement))
