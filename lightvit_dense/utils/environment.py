"""Time, memory, arithmetic and hardware: the few measurements the benchmarks share."""

import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from .memory import peak_resident_mb


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls, the warm-up left out."""

    seconds: tuple[float, ...]  # one entry a call, in order

    @property
    def median(self) -> float:
        """Median of the calls in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range in seconds; 0 for fewer than two calls."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method='inclusive')
        return high - low


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def time_calls(
    call: Callable[[], object], repeats: int, warmup: int, device: torch.device | str = 'cpu'
) -> Timing:
    """Time a function; the device is waited for before and after each of the repeats."""
    if repeats < 1:
        raise ValueError(f'repeats must be at least 1, got {repeats}')
    device = torch.device(device)
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds))


def count_flops(call: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products and convolutions in a call.

    A multiplication and an addition count as two. Fused attention is replaced by its plain form
    while counting, since the counter does not see inside the fused kernels of every device.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak of earlier work, where the device keeps one (a CPU process cannot)."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak so far in MiB: allocated on CUDA, resident set of the process on the CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident_mb()


def cpu_name() -> str:
    """Return the CPU's model name, or its architecture where the system does not tell."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def cpp_compiler() -> str | None:
    """Return the C++ compiler that ``torch.compile`` would call, None where there is none."""
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['g++', 'clang++']
    return next((found for name in names if (found := shutil.which(name))), None)


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> dict[str, object]:
    """Return what the numbers were measured on: CPU, cores, torch threads, memory, GPU if any."""
    import psutil

    found: dict[str, object] = {
        'cpu': cpu_name(),
        'cores': usable_cores(),
        'torch_threads': torch.get_num_threads(),
        'memory_gb': round(psutil.virtual_memory().total / 2**30, 1),
        'gpu': None,
    }
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.get_device_name(0)
        found['gpu_memory_gb'] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    return found


_PACKAGES = (
    'torch',
    'torchvision',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'timm',
    'opencv-python',
    'faster-coco-eval',
    'pycocotools',
    'numpy',
)


def environment() -> dict[str, object]:
    """Return hardware, system and the versions of the stack."""
    from lightvit_dense import __version__

    versions = {'lightvit_dense': __version__, 'python': platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**hardware(), 'system': platform.platform(), 'versions': versions}
