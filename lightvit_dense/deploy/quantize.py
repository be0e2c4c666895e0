"""Exported files in 8 bits, by the quantisers that come with the runtimes.

Products and convolutions with constant weights compute in 8 bits: weights with a scale for each
channel, inputs with the range that they have on images of the task. Everything else stays float:
softmax, LayerNorm, the products of attention, resizing.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightvit_dense_runtime import open_model

from ..utils.environment import import_extra
from ..utils.io import atomic_write
from ..utils.progress import Display
from .data import Arrays

LAYERS = ['Conv', 'Gemm', 'MatMul']
FLOAT_PARTS = (0.1, 0.2, 0.4)
"""Parts of the layers that stay float, to be tried in this order."""
_XNNPACK = 'executorch.backends.xnnpack.quantizer.xnnpack_quantizer'
_MEASURED = 4  # inputs


class _Reader:
    """Inputs one after the other, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, inputs: Sequence[Arrays]) -> None:
        self._inputs: Iterator[Arrays] = iter(inputs)

    def get_next(self) -> Arrays | None:
        return next(self._inputs, None)


def quantize_onnx(
    source: str | Path,
    target: str | Path,
    inputs: Sequence[Arrays],
    accept: Callable[[Path], bool] | None = None,
) -> list[str]:
    """Write an ONNX file in 8 bits; returns the names of the layers that stay float.

    These are the ones that change the outputs most when they alone are in 8 bits. Weights have 7
    bits: the 8-bit products of CPUs without VNNI saturate.

    Args:
        source: An exported file.
        target: File to write.
        inputs: Inputs of the file to calibrate by, from images of the task.
        accept: Says whether a file will do; more layers stay float until one does.
    """
    onnx, quantization = import_extra('onnx'), import_module('onnxruntime.quantization')
    with tempfile.TemporaryDirectory() as folder:
        ready, trial = Path(folder, 'ready.onnx'), Path(folder, 'trial.onnx')
        # A product with its bias becomes one operator (Gemm), which has an 8-bit kernel.
        quantization.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        axes = {item.name: len(item.dims) for item in model.graph.initializer}
        layers = [
            node.name
            for node in model.graph.node
            if node.op_type in LAYERS
            and node.input[1] in axes
            # A table of biases, such as positions that are added to patches, cannot be in 8 bits.
            and all(axes.get(bias) == 1 for bias in node.input[2:])
        ]
        options = dict(MatMulConstBOnly=True, OpTypesToExcludeOutputQuantization=LAYERS)
        write = partial(
            quantization.quantize_static,
            str(ready),
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=LAYERS,
            calibration_cache_path=str(Path(folder, 'ranges.json')),
            extra_options=options,
        )
        write(str(trial), _Reader(inputs), nodes_to_quantize=layers)  # computes the ranges
        damage: dict[str, float] = {}
        wanted = _outputs(source, inputs[:_MEASURED])
        with Display() as display:
            for number, layer in enumerate(layers, 1):
                write(str(trial), None, nodes_to_quantize=[layer])
                _copy_metadata(onnx, source, trial)
                damage[layer] = _distance(_outputs(trial, inputs[:_MEASURED]), wanted)
                display('8 bits, layer by layer', number, len(layers))
        ranked = sorted(damage, key=lambda layer: -damage[layer])
        for part in FLOAT_PARTS:
            floats = ranked[: math.ceil(part * len(layers))]
            write(str(trial), None, nodes_to_quantize=[x for x in layers if x not in floats])
            _copy_metadata(onnx, source, trial)
            if accept is None or accept(trial):
                break
        atomic_write(target, trial.read_bytes())
    return floats


def _copy_metadata(onnx: Any, source: str | Path, target: Path) -> None:
    """Give an ONNX file the properties of another."""
    model, about = onnx.load(str(target)), onnx.load(str(source)).metadata_props
    onnx.helper.set_model_props(model, {item.key: item.value for item in about})
    onnx.save(model, str(target))


def _outputs(path: str | Path, inputs: Sequence[Arrays]) -> list[np.ndarray]:
    """Return the outputs of a file for some inputs, one after the other."""
    network = open_model(path)
    return [array for arrays in inputs for array in network(**arrays).values()]


def _distance(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Return the mean difference of arrays as parts of their norm; what one lacks counts as 0."""
    parts = []
    for one, other in zip(ours, theirs, strict=True):
        shape = np.maximum(one.shape, other.shape)
        left, right = (
            np.pad(np.float32(a), [(0, n - m) for n, m in zip(shape, a.shape, strict=True)])
            for a in (one, other)
        )
        parts.append(np.linalg.norm(left - right) / max(np.linalg.norm(right), 1e-12))
    return float(np.mean(parts))


def quantize_openvino(model: Any, inputs: Sequence[Arrays]) -> Any:
    """Return an OpenVINO model in 8 bits, by NNCF; the products of attention stay float."""
    nncf = import_extra('nncf', 'openvino')
    free = [
        operator.get_friendly_name()
        for operator in model.get_ordered_ops()
        if operator.get_type_name() == 'MatMul'
        and operator.input_value(1).get_node().get_type_name() not in ('Constant', 'Convert')
    ]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=free),
    )


def quantized_module(
    program: torch.export.ExportedProgram, names: Sequence[str], inputs: Sequence[Arrays]
) -> torch.nn.Module:
    """Return a traced graph with linear layers and convolutions in 8 bits, for XNNPACK.

    ``names`` are the graph's inputs in order.
    """
    pt2e = import_extra('torchao.quantization.pt2e.quantize_pt2e', 'executorch')
    xnnpack = import_extra(_XNNPACK, 'executorch')
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = xnnpack.XNNPACKQuantizer()
    for kind in (torch.ops.aten.linear.default, torch.ops.aten.conv2d.default):
        quantizer.set_operator_type(kind, config)
    watched = pt2e.prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for arrays in inputs:
            watched(*(torch.from_numpy(arrays[name]) for name in names))
    quantized: torch.nn.Module = pt2e.convert_pt2e(watched)
    return quantized
