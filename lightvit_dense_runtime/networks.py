"""An exported file in ONNX Runtime, OpenVINO or ExecuTorch: arrays in, arrays out."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelFileError, UserError
from .metadata import KEY, METHOD, parse

Arrays = dict[str, np.ndarray]


class Network:
    """A file in its runtime, called with its inputs by name.

    ::

        network = open_model('detector.onnx')
        found = network(image=pixels[None])  # boxes, scores, labels, masks

    ``metadata`` is what the file says of itself, ``provider`` what computes it.
    """

    package = ''

    def __init__(self, path: Path, provider: str, threads: int | None, fallback: bool) -> None:
        self.path, self.provider, self._fallback = path, provider, fallback
        try:
            self._runtime = import_module(self.package)
        except ImportError as error:
            name = self.package.partition('.')[0]
            raise UserError(f'{path} needs the package {name}: pip install {name}') from error
        try:
            text = self._open(threads)
        except UserError:
            raise
        except Exception as error:  # the runtimes' errors have no common base
            name = self.package.partition('.')[0]
            reason = str(error).strip().partition('\n')[0]
            raise ModelFileError(
                f'{path}: {name} cannot read it ({reason}): the file is damaged or truncated, or '
                f'this {name} is too old; copy or export it anew'
            ) from error
        self.metadata = parse(text, path)

    def _open(self, threads: int | None) -> str | None:
        """Open the file; return the text of its metadata, None if it has none."""
        raise NotImplementedError

    def _run(self, inputs: Arrays) -> list[Any]:
        """Return the outputs in the order of the file."""
        raise NotImplementedError

    def _choose(self, known: list[str], wanted: str, default: str) -> str:
        """Return a provider that is there; an error or, with fallback, a warning if it is not."""
        if wanted in known:
            return wanted
        text = f'{self.path}: the provider {self.provider!r} is not there'
        if not self._fallback:
            raise UserError(f'{text}; there are {", ".join(known)}. fallback=True takes {default}')
        warnings.warn(f'{text}: {default} computes instead', stacklevel=4)
        return default

    def __call__(self, **inputs: np.ndarray) -> Arrays:
        """Compute the outputs by name; wrong inputs are errors that name what is wanted."""
        names = [item['name'] for item in self.metadata['inputs']]
        if set(names) != set(inputs):
            raise UserError(
                f'{self.path}: takes the inputs {", ".join(names)}, got {", ".join(inputs)}'
            )
        arrays = {
            item['name']: self._check(inputs[item['name']], item)
            for item in self.metadata['inputs']
        }
        found = map(np.asarray, self._run(arrays))
        return {
            item['name']: one for item, one in zip(self.metadata['outputs'], found, strict=True)
        }

    def _check(self, array: np.ndarray, about: dict[str, Any]) -> np.ndarray:
        """Return an input that the file takes, contiguous."""
        name, shape, dtype = about['name'], about['shape'], about['dtype']
        array = np.asarray(array)
        fits = array.ndim == len(shape) and all(
            size == wanted or (wanted is None and size > 0)
            for size, wanted in zip(array.shape, shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            wanted = ', '.join('any' if size is None else str(size) for size in shape)
            raise UserError(
                f'{self.path}: {name} must be {dtype} [{wanted}], got {array.dtype} '
                f'{list(array.shape)}'
            )
        limits = self.metadata['limits'] if name == 'image' else {}
        for size, axis in zip(array.shape, ('batch', 'height', 'width'), strict=False):
            low, high = limits.get(axis, (size, size))
            if not low <= size <= high:
                raise UserError(
                    f'{self.path}: takes a {axis} of {low} to {high}, got {size}; '
                    f'{"give fewer images" if axis == "batch" else "resize the image"}'
                )
        return np.ascontiguousarray(array)


class OnnxNetwork(Network):
    """An ONNX file in ONNX Runtime."""

    package = 'onnxruntime'

    def _open(self, threads: int | None) -> str | None:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = threads or 0
        known, cpu = self._runtime.get_available_providers(), 'CPUExecutionProvider'
        names = {name.removesuffix('ExecutionProvider').lower(): name for name in known}
        name = self._choose(known, names.get(self.provider.lower(), self.provider), cpu)
        # What TensorRT cannot compute CUDA does, and what CUDA cannot, the CPU.
        helpers = ['CUDAExecutionProvider'] if name.startswith('Tensorrt') else []
        chain = [*dict.fromkeys([name, *(n for n in helpers if n in known), cpu])]
        session = self._runtime.InferenceSession(str(self.path), options, providers=chain)
        # Where its libraries are missing, ONNX Runtime leaves a provider out without an error.
        self.provider = self._choose(session.get_providers(), name, cpu)
        self._session = session
        text: str | None = session.get_modelmeta().custom_metadata_map.get(KEY)
        return text

    def _run(self, inputs: Arrays) -> list[Any]:
        # What a graph does not read is no input of it.
        read = {item.name for item in self._session.get_inputs()}
        names = [item['name'] for item in self.metadata['outputs']]
        found: list[Any] = self._session.run(names, {n: a for n, a in inputs.items() if n in read})
        return found


class OpenVinoNetwork(Network):
    """An OpenVINO model, FILE.xml with FILE.bin beside it."""

    package = 'openvino'

    def _open(self, threads: int | None) -> str | None:
        core = self._runtime.Core()
        device = self._choose(core.available_devices, self.provider.upper(), 'CPU')
        model = core.read_model(self.path)
        text = str(model.get_rt_info([KEY])) if model.has_rt_info([KEY]) else None
        options: dict[str, Any] = dict(PERFORMANCE_HINT='LATENCY')
        if threads:
            options['INFERENCE_NUM_THREADS'] = threads
        if parse(text, self.path)['precision'] == 'fp32':
            options['INFERENCE_PRECISION_HINT'] = 'f32'  # newer CPUs would compute in bf16
        self.provider, self._model = device, core.compile_model(model, device, options)
        return text

    def _run(self, inputs: Arrays) -> list[Any]:
        found = self._model(inputs)
        return [found[item['name']] for item in self.metadata['outputs']]


class ExecuTorchNetwork(Network):
    """An ExecuTorch program; its Python runtime needs torch."""

    package = 'executorch.runtime'

    def _open(self, threads: int | None) -> str | None:
        self.provider = self._choose(['cpu'], self.provider.lower(), 'cpu')
        if threads:
            library = import_module('executorch.extension.pybindings.portable_lib')
            library._unsafe_reset_threadpool(threads)
        self._program = self._runtime.Runtime.get().load_program(self.path)
        if METHOD not in self._program.method_names:
            return None
        self._method = self._program.load_method('forward')
        return bytes(self._program.load_method(METHOD).execute([])[0].numpy()).decode()

    def _run(self, inputs: Arrays) -> list[Any]:
        torch = import_module('torch')
        tensors = [torch.from_numpy(array) for array in inputs.values()]
        return [tensor.numpy().copy() for tensor in self._method.execute(tensors)]


RUNTIMES: dict[str, type[Network]] = {
    '.onnx': OnnxNetwork,
    '.xml': OpenVinoNetwork,
    '.pte': ExecuTorchNetwork,
}
"""The runtime of a file by the end of its name."""


def open_model(
    path: str | Path, provider: str = 'cpu', threads: int | None = None, fallback: bool = False
) -> Network:
    """Open an exported file in its runtime.

    Args:
        path: File that ends in .onnx, .xml (OpenVINO) or .pte (ExecuTorch).
        provider: What computes it: 'cpu', 'cuda', 'tensorrt' or another provider of ONNX Runtime; a
            device of OpenVINO.
        threads: Threads of an operator; the runtime's choice by default. ExecuTorch's are those of
            the process.
        fallback: Whether the CPU takes over, with a warning, where the provider is not there.
    """
    path = Path(path)
    if path.suffix not in RUNTIMES:
        raise ModelFileError(f'{path}: exported files end in {", ".join(RUNTIMES)}')
    if threads is not None and threads < 1:
        raise UserError(f'threads={threads}: must be positive')
    if not path.is_file():
        raise ModelFileError(f'{path}: does not exist; write it with tools/deploy/export.py')
    return RUNTIMES[path.suffix](path, provider, threads, fallback)
