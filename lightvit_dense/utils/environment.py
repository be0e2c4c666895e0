"""Time, memory, arithmetic and hardware: the few measurements that tools share."""

import math
import os
import platform
import shutil
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch

from lightvit_dense.errors import UserError

from .memory import peak_resident_mb


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


MIN_CALLS = 3  # however small the budget


def time_calls(
    call: Callable[[], object],
    repeats: int,
    warmup: int,
    device: torch.device | str = 'cpu',
    budget: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the seconds of ``repeats`` calls after some others, or of what the budget allows."""
    device = torch.device(device)
    for _ in range(warmup):
        call()
    seconds: list[float] = []
    began = clock()
    while len(seconds) < repeats and (len(seconds) < MIN_CALLS or clock() - began <= budget):
        synchronize(device)
        start = clock()
        call()
        synchronize(device)
        seconds.append(clock() - start)
    return seconds


def count_flops(call: Callable[[], object]) -> int:
    """Count operations of products, convolutions and unfused attention; a MAC counts as two."""
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


def cpp_compiler() -> str | None:
    """Return the C++ compiler that ``torch.compile`` would call, None where there is none."""
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['g++', 'clang++']
    return next((found for name in names if (found := shutil.which(name))), None)


_SIMD = ('avx2', 'avx_vnni', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8', 'amx_bf16')


def hardware() -> dict[str, object]:
    """Return what the numbers were measured on: CPU, cores, torch threads, memory, GPU if any."""
    import psutil

    cpu, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    simd: list[str] = []
    if info.is_file():
        lines = info.read_text(encoding='utf-8', errors='replace').splitlines()
        names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
        cpu = next(names, cpu)
        flags = next((line.split() for line in lines if line.startswith('flags')), [])
        simd = [name for name in _SIMD if name in flags]
    limited = hasattr(os, 'sched_getaffinity')
    found: dict[str, object] = {
        'cpu': cpu,
        'simd': ' '.join(simd),
        'cores': len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1,
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


def import_extra(name: str, extra: str = 'onnx') -> Any:
    """Import a package that comes with one of our extras; a ``UserError`` says how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f'{name} is not installed; it comes with an extra: '
            f'pip install "lightvit_dense[{extra}]"'
        ) from error
