"""An exported file in ONNX Runtime, OpenVINO or ExecuTorch: arrays in, arrays out."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .metadata import KEY, METHOD, parse


class Network:
    """A file in its runtime; takes its inputs by name and gives its outputs by name."""

    package = ''
    _open: Any  # opens the file with so many threads; returns the text of its metadata or None
    _run: Any  # returns the outputs in the order of the file

    def __init__(self, path: Path, provider: str, threads: int | None, fallback: bool) -> None:
        self.path, self.provider, self._fallback = path, provider, fallback
        name = self.package.partition('.')[0]
        try:
            self._runtime: Any = import_module(self.package)
            text = self._open(threads)
        except UserError:
            raise
        except ImportError as error:
            raise UserError(f'{path} needs the package {name}: pip install {name}') from error
        except Exception as error:  # the runtimes' errors have no common base
            reason = str(error).strip().partition('\n')[0]
            text = 'the file is damaged or truncated; copy or export it anew, or update the package'
            raise UserError(f'{path}: {name} cannot read it ({reason}): {text}') from error
        self.metadata = parse(text, path)

    def _choose(self, known: list[str], wanted: str, default: str) -> str:
        """Return a provider that is there; an error or, with fallback, a warning if it is not."""
        if wanted in known:
            return wanted
        text = f'{self.path}: the provider {self.provider!r} is not there'
        if not self._fallback:
            raise UserError(f'{text}; there are {", ".join(known)}. fallback=True takes {default}')
        warnings.warn(f'{text}: {default} computes instead', stacklevel=4)
        return default

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs; wrong inputs are errors that name what is wanted."""
        about = {item['name']: item for item in self.metadata['inputs']}
        if set(about) != set(inputs):
            raise UserError(
                f'{self.path}: takes the inputs {", ".join(about)}, got {", ".join(inputs)}'
            )
        found = self._run({name: self._check(inputs[name], about[name]) for name in about})
        names = [item['name'] for item in self.metadata['outputs']]
        return dict(zip(names, map(np.asarray, found), strict=True))

    def _check(self, array: np.ndarray, about: dict[str, Any]) -> np.ndarray:
        """Return an input that the file takes, contiguous."""
        name, shape, size = about['name'], about['shape'], array.shape[1:3]
        fits = len(shape) == array.ndim and all(
            wanted in (None, side) for wanted, side in zip(shape, array.shape, strict=True)
        )
        if array.dtype != about['dtype'] or not fits:
            text = str(shape).replace('None', 'any')
            hint = ' in RGB order; cv2.cvtColor converts grey and BGRA' if name == 'image' else ''
            raise UserError(
                f'{self.path}: {name} must be {about["dtype"]} {text}{hint}, got {array.dtype} '
                f'{list(array.shape)}'
            )
        limits = self.metadata['limits'] if name == 'image' else {}
        low, high = limits.get('min_size', size), limits.get('max_size', size)
        if not all(a <= side <= b for a, side, b in zip(low, size, high, strict=True)):
            raise UserError(
                f'{self.path}: takes images of {list(low)} to {list(high)} pixels (height, width), '
                f'got {list(size)}; resize the image'
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
        # In the order of their speed: what one cannot compute the next does, the CPU at last.
        chain = known[known.index(name) :]
        self._session = self._runtime.InferenceSession(str(self.path), options, providers=chain)
        # Where its libraries are missing, ONNX Runtime leaves a provider out without an error.
        self.provider = self._choose(self._session.get_providers(), name, cpu)
        self._read = {item.name for item in self._session.get_inputs()}
        return self._session.get_modelmeta().custom_metadata_map.get(KEY)

    def _run(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        # What a graph does not read is no input of it.
        feed = {name: array for name, array in inputs.items() if name in self._read}
        return self._session.run([item['name'] for item in self.metadata['outputs']], feed)


class OpenVinoNetwork(Network):
    """An OpenVINO model, FILE.xml with FILE.bin beside it."""

    package = 'openvino'

    def _open(self, threads: int | None) -> str | None:
        core = self._runtime.Core()
        self.provider = self._choose(core.available_devices, self.provider.upper(), 'CPU')
        model = core.read_model(self.path)
        text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        options: dict[str, Any] = dict(INFERENCE_NUM_THREADS=threads or 0)
        if parse(text, self.path)['precision'] == 'fp32':
            options['INFERENCE_PRECISION_HINT'] = 'f32'  # newer CPUs would compute in bf16
        self._model = core.compile_model(model, self.provider, options)
        return text

    def _run(self, inputs: dict[str, np.ndarray]) -> list[Any]:
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
        program = self._program = self._runtime.Runtime.get().load_program(self.path)
        if METHOD not in program.method_names:
            return None
        self._method = program.load_method('forward')
        return bytes(program.load_method(METHOD).execute([])[0].numpy()).decode()

    def _run(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        tensors = map(import_module('torch').from_numpy, inputs.values())
        return [tensor.numpy().copy() for tensor in self._method.execute([*tensors])]


RUNTIMES = {'.onnx': OnnxNetwork, '.xml': OpenVinoNetwork, '.pte': ExecuTorchNetwork}
"""The runtime of a file by the end of its name."""


def open_model(
    path: str | Path, provider: str = 'cpu', threads: int | None = None, fallback: bool = False
) -> Network:
    """Open an exported file in its runtime.

    Args:
        path: File that ends in .onnx, .xml (OpenVINO) or .pte (ExecuTorch).
        provider: 'cpu', 'cuda', 'tensorrt', another of ONNX Runtime, or a device of OpenVINO.
        threads: Threads of the network (ExecuTorch: of the process); None leaves it to the runtime.
        fallback: Whether the CPU takes over, with a warning, where the provider is not there.
    """
    path = Path(path)
    if path.suffix not in RUNTIMES:
        raise UserError(f'{path}: exported files end in {", ".join(RUNTIMES)}')
    if threads is not None and threads < 1:
        raise UserError(f'threads={threads}: must be positive')
    if not path.is_file():
        raise UserError(f'{path}: does not exist; write it with tools/deploy/export.py')
    return RUNTIMES[path.suffix](path, provider, threads, fallback)
