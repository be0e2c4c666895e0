"""Exported files in 8 bits, by the quantisers that come with the runtimes.

Products and convolutions of a graph's body with constant weights compute in 8 bits: weights with a
scale for each channel, inputs with the range that they have on images of the task. Everything else
stays float: softmax, LayerNorm, the products of attention, resizing.
"""

import math
import tempfile
from collections.abc import Callable, Sequence, Set
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from lightvit_dense_runtime import open_model

from ..errors import UserError
from ..utils.environment import import_extra
from ..utils.io import atomic_write
from ..utils.progress import Display
from .data import Arrays
from .graph import Graph

LAYERS = ['Conv', 'Gemm', 'MatMul']
FLOAT_PARTS = (0.1, 0.2, 0.4)
"""Parts of the layers that stay float, to be tried in this order."""
MEASURES = ('scores', 'found', 'features', 'labels')  # the first that a file gives ranks its layers


def quantize_onnx(
    source: Path,
    target: Path,
    inputs: Sequence[Arrays],
    body: Set[str],
    accept: Callable[[Path], bool] | None = None,
) -> list[str]:
    """Write an ONNX file in 8 bits; returns the names of the layers that stay float.

    These are the ones that change the outputs most when they alone are in 8 bits; more of them
    until ``accept``, if given, is true of the file. Weights have 7 bits: the 8-bit products of
    CPUs without VNNI saturate. ``inputs`` are inputs of the file, of images of the task; nodes
    that ``body`` does not name are left alone.
    """
    onnx, quantization = import_extra('onnx'), import_module('onnxruntime.quantization')
    with tempfile.TemporaryDirectory() as folder:
        ready, trial = Path(folder, 'ready.onnx'), Path(folder, 'trial.onnx')
        # A product with its bias becomes one operator (Gemm), which has an 8-bit kernel.
        quantization.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        nodes = onnx.load(str(ready)).graph
        axes = {item.name: len(item.dims) for item in nodes.initializer}
        layers = [
            node.name
            for node in nodes.node
            if node.op_type in LAYERS
            and node.name.partition('/')[0] in body
            and node.input[1] in axes
            # A table of biases, such as positions that are added to patches, cannot be in 8 bits.
            and all(axes.get(bias) == 1 for bias in node.input[2:])
        ]
        write = partial(
            quantization.quantize_static,
            str(ready),
            str(trial),
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=LAYERS,
            calibration_cache_path=str(Path(folder, 'ranges.json')),
            extra_options=dict(OpTypesToExcludeOutputQuantization=LAYERS),
        )
        left = iter(inputs)
        write(SimpleNamespace(get_next=lambda: next(left, None)), nodes_to_quantize=layers)
        wanted, damage = _outputs(source, inputs), dict[str, float]()
        with Display() as display:
            for number, layer in enumerate(layers, 1):
                write(None, nodes_to_quantize=[layer])
                damage[layer] = _distance(_outputs(trial, inputs), wanted)
                display('8 bits, layer by layer', number, len(layers))
        ranked = sorted(damage, key=lambda layer: -damage[layer])
        for part in FLOAT_PARTS:
            floats = math.ceil(part * len(layers))
            write(None, nodes_to_quantize=ranked[floats:])
            if accept is None or accept(trial):
                break
        atomic_write(target, trial.read_bytes())
    return ranked[:floats]


def _outputs(path: Path, inputs: Sequence[Arrays]) -> list[np.ndarray]:
    network = open_model(path)
    found = [network(**arrays) for arrays in inputs[:4]]
    name = next(name for name in MEASURES if name in found[0])
    return [outputs[name] for outputs in found]


def _distance(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Return the mean difference of arrays as parts of their norm; of labels how many differ."""
    gaps = []
    for one, other in zip(ours, theirs, strict=True):
        size = max(one.size, other.size)  # objects are sorted: a missing one has the score 0
        one, other = (np.pad(x.ravel(), (0, size - x.size)) for x in (one, other))
        gap = one - other if one.dtype.kind == 'f' else one != other
        gaps.append(np.linalg.norm(gap) / max(np.linalg.norm(other), 1e-9))
    return float(np.mean(gaps))


def quantize_openvino(model: Any, inputs: Sequence[Arrays], body: Set[str]) -> Any:
    """Return an OpenVINO model whose layers of the body are in 8 bits, by NNCF."""
    nncf = import_extra('nncf', 'openvino')

    def free(node: Any) -> bool:
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind in ('MatMul', 'Convolution') and name.partition('/')[0] in body:
            return bool(node.input_value(1).get_node().get_type_name() != 'Constant')
        return kind not in ('Constant', 'Parameter', 'Result')

    names = [node.get_friendly_name() for node in model.get_ops() if free(node)]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=names),
    )


def quantized_module(graph: Graph, program: ExportedProgram, inputs: Sequence[Arrays]) -> nn.Module:
    """Return a traced graph whose linear layers of the body are in 8 bits, for XNNPACK."""
    pt2e = import_module('torchao.quantization.pt2e.quantize_pt2e')
    xnnpack = import_module('executorch.backends.xnnpack.quantizer.xnnpack_quantizer')
    module, aten = program.module(), torch.ops.aten
    products = module.graph.find_nodes(op='call_function', target=aten.addmm.default)
    products = [node for node in products if node.args[2].op == 'get_attr']
    for name in {node.args[2].target for node in products}:
        owner, _, own = name.rpartition('.')
        part = module.get_submodule(owner)
        # Of a buffer that is used no more ExecuTorch would keep the fp32 values.
        weight = nn.Parameter(getattr(part, own).t().contiguous(), requires_grad=False)
        setattr(part, own, weight)
    for node in products:  # the quantiser knows no other product than a linear layer
        node.target, node.args = aten.linear.default, (*node.args[1:], node.args[0])

    def inside(node: Any) -> bool:
        scopes = [f'{scope}.' for scope, _ in node.meta.get('nn_module_stack', {}).values()]
        return any(scope.startswith(f'{name}.') for scope in scopes for name in graph.body)

    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = xnnpack.XNNPACKQuantizer().set_filter_function(inside)
    quantizer.set_operator_type(aten.linear.default, config)
    quantizer.transform_for_annotation = lambda model: model  # it makes integers' factors floats
    watched = pt2e.prepare_pt2e(module, quantizer)
    try:
        with torch.no_grad():
            for arrays in inputs:
                watched(*(torch.from_numpy(arrays[name]) for name in graph.input_names))
    except AssertionError as error:
        raise UserError(f'int8 is calibrated by images that the file takes: {error}') from error
    quantized: nn.Module = pt2e.convert_pt2e(watched)
    return quantized
