"""Graphs to files of three runtimes."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lightvit_dense_runtime.metadata import KEY, METHOD

from ..errors import UserError, require_known
from ..utils.environment import import_extra
from ..utils.io import atomic_path, atomic_write
from .data import Arrays
from .graph import Graph
from .metadata import signature
from .quantize import quantize_onnx, quantize_openvino, quantized_module

SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'executorch': '.pte'}
"""Runtimes, and how the names of their files end."""
PRECISIONS = ('fp32', 'fp16', 'int8')
_PACKAGES = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnxscript', 'openvino', 'nncf'),
    'executorch': ('executorch', 'torchao'),
}
OPSET = 20  # the first with GELU whole
PLANNED_SIDE = 2048
"""Most pixels of a side in ExecuTorch, which reserves memory for the largest image."""
_SCOPES = 'pkg.torch.onnx.name_scopes'


def check_target(path: str | Path, to: str, precision: str = 'fp32') -> None:
    """Raise a :class:`UserError` if no such file can be written, before anything is computed."""
    require_known(to, SUFFIXES, '--to')
    require_known(precision, PRECISIONS, '--precision')
    if Path(path).suffix != SUFFIXES[to]:
        raise UserError(f'{path}: the name of a file for {to} ends in {SUFFIXES[to]}')
    if to == 'executorch' and precision == 'fp16':
        raise UserError('fp16 is not written for executorch: take fp32 or int8')
    for package in _PACKAGES[to]:
        import_extra(package, to)


def export(
    graph: Graph,
    path: str | Path,
    to: str,
    about: dict[str, Any],
    precision: str = 'fp32',
    inputs: Sequence[Arrays] = (),
    accept: Callable[[Path], bool] | None = None,
) -> Path:
    """Write a graph as a file.

    Args:
        graph: What the file computes.
        path: The file; its suffix is that of ``SUFFIXES``. OpenVINO's weights lie beside it, with
            the suffix .bin.
        to: The runtime, a key of ``SUFFIXES``.
        about: What :func:`~.metadata.describe` says of it.
        precision: One of ``PRECISIONS``.
        inputs: Inputs that 'int8' is calibrated by, see :func:`~.data.sample_inputs`.
        accept: See :func:`~.quantize.quantize_onnx`, which alone can try again.

    Raises:
        UserError: If the runtime cannot express the graph, or a package is missing.
    """
    check_target(path, to, precision)
    reason = graph.refuse(to)
    if reason is not None:
        raise UserError(reason)
    if precision == 'int8' and not inputs:
        raise UserError('int8 needs inputs to calibrate by: see sample_inputs')
    program = trace(graph, to, inputs if to == 'executorch' and precision == 'int8' else ())
    about = dict(about, precision=precision, **signature(graph, program))
    if to == 'executorch' and 'max_size' in about['limits']:
        most = [min(side, PLANNED_SIDE) for side in about['limits']['max_size']]
        about['limits'] = dict(about['limits'], max_size=most)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    text, target = json.dumps(about), Path(path)
    if to == 'executorch':
        _write_executorch(program, target, text)
    elif to == 'openvino':
        _write_openvino(graph, program, target, text, precision, inputs)
    elif precision == 'int8':
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, 'fp32.onnx')
            body = _write_onnx(graph, program, source, text, 'fp32')
            quantize_onnx(source, target, inputs, body, accept)
    else:
        _write_onnx(graph, program, target, text, precision)
    return Path(path)


def trace(graph: Graph, to: str = 'onnx', calibration: Sequence[Arrays] = ()) -> ExportedProgram:
    """Trace a graph with its free axes; for ExecuTorch with a batch of one and bounded sides.

    ``calibration`` are the inputs that ExecuTorch's 8 bits, which are traced, are calibrated by.
    """
    inputs, shapes = graph.example(), graph.dynamic_shapes()
    if to == 'executorch':
        inputs = tuple(
            tensor[:1] if 0 in shapes.get(name, {}) else tensor
            for name, tensor in zip(graph.input_names, inputs, strict=True)
        )
        shapes = {
            name: {axis: _bounded(dim) for axis, dim in axes.items() if axis}
            for name, axes in shapes.items()
        }
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
        if not calibration:
            return program
        module = quantized_module(graph, program, calibration)
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)


def _bounded(dim: Any) -> Any:
    return Dim(dim.__name__, min=dim.min, max=min(dim.max, PLANNED_SIDE))


def body_nodes(model: Any, body: tuple[str, ...]) -> set[str]:
    """Return the names of the nodes of an ONNX model that stem from these sub-modules."""
    found = set()
    for node in model.graph.node:
        scopes = next((prop.value for prop in node.metadata_props if prop.key == _SCOPES), '')
        if any(f"'{name}'" in scopes or f"'{name}." in scopes for name in body):
            found.add(node.name)
    return found


def _write_onnx(
    graph: Graph, program: ExportedProgram, path: Path, text: str, precision: str
) -> set[str]:
    """Write a file; returns the names of the nodes of the graph's body."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        written: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=graph.input_names,
            output_names=graph.output_names,
            opset_version=OPSET,
            verbose=False,
        )
    written.model.metadata_props[KEY] = text
    model = written.model_proto
    graph.finish(model)
    inside = body_nodes(model, graph.body)
    if precision == 'fp16':
        outside = [node.name for node in model.graph.node if node.name not in inside]
        model = import_module('onnxruntime.transformers.float16').convert_float_to_float16(
            model, keep_io_types=True, node_block_list=outside
        )
        once = {node.output[0]: node for node in model.graph.node}  # a cast comes with each user
        model.graph.ClearField('node')
        model.graph.node.extend(once.values())
    atomic_write(path, model.SerializeToString())
    return inside


def _write_openvino(
    graph: Graph,
    program: ExportedProgram,
    path: Path,
    text: str,
    precision: str,
    inputs: Sequence[Arrays],
) -> None:
    openvino = import_module('openvino')
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, target = Path(folder, 'model.onnx'), Path(folder, path.name)
        # By way of ONNX: its converter keeps what torch's program takes apart.
        body = _write_onnx(graph, program, source, text, 'fp32')
        model = openvino.convert_model(source)
        if precision == 'int8':
            model = quantize_openvino(model, inputs, body)
        model.set_rt_info(text, KEY)
        openvino.save_model(model, target, compress_to_fp16=precision == 'fp16')
        for suffix in ('.bin', '.xml'):
            os.replace(target.with_suffix(suffix), path.with_suffix(suffix))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Write attention in what XNNPACK computes; torch's own has a check for rows of -inf."""
    if dropout_p or is_causal or enable_gqa:
        raise UserError('attention with dropout, a causal mask or shared keys cannot be exported')
    *axes, width = query.shape
    query = query * (width**-0.5 if scale is None else scale)
    query, key, value = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    logits = query @ key.mT  # [B * H, N, M]
    if attn_mask is not None:
        apart = logits.reshape(*axes, -1)
        if attn_mask.dtype == torch.bool:  # finite: a row without a token would be NaN
            apart = apart.masked_fill(~attn_mask, torch.finfo(apart.dtype).min)
        else:
            apart = apart + attn_mask
        logits = apart.reshape(logits.shape)
    return (logits.softmax(-1) @ value).reshape(*axes, -1)


def _write_executorch(program: ExportedProgram, path: Path, text: str) -> None:
    program = program.run_decompositions(
        {torch.ops.aten.scaled_dot_product_attention.default: _attention}
    )
    lower = import_module('executorch.exir').to_edge_transform_and_lower
    xnnpack = import_module('executorch.backends.xnnpack.partition.xnnpack_partitioner')
    about = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    with _flatc(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        lowered = lower(
            program,
            partitioner=[xnnpack.XnnpackPartitioner()],
            constant_methods={METHOD: about},
        )
        written = lowered.to_executorch()
    with atomic_path(path) as part, open(part, 'wb') as file:
        written.write_to_file(file)


@contextmanager
def _flatc() -> Iterator[None]:
    """Tell ExecuTorch of the compiler of its own wheel, which it looks for in the PATH."""
    own = resources.files('executorch') / 'data/bin/flatc'
    before = os.environ.get('FLATC_EXECUTABLE')
    if before is None and own.is_file():
        os.environ['FLATC_EXECUTABLE'] = str(own)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop('FLATC_EXECUTABLE', None)
