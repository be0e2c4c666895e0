"""Graphs to files."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from ..utils.environment import import_onnx
from ..utils.io import atomic_path
from .graph import Graph
from .metadata import KEY

OPSET = 20


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """Trace a graph with its free axes."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.export.export(
            graph, graph.example(), dynamic_shapes=graph.dynamic_shapes(), strict=False
        )


def export_onnx(graph: Graph, path: str | Path, about: dict[str, Any]) -> Path:
    """Write a graph as an ONNX file."""
    import_onnx('onnxscript')
    program = torch.onnx.export(
        trace(graph),
        dynamo=True,
        input_names=graph.input_names,
        output_names=graph.output_names,
        opset_version=OPSET,
        verbose=False,
    )
    program.model.metadata_props[KEY] = json.dumps(about)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        program.save(str(part))
    return path


def add_metadata(path: str | Path, about: dict[str, str]) -> None:
    """Write names and values into an ONNX file; ``session.get_modelmeta()`` reads them."""
    onnx = import_onnx('onnx')
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(about))
    onnx.save(model, str(path))


def onnx_session(path: str | Path, threads: int | None = None) -> Any:
    """Open an ONNX file with ONNX Runtime on the CPU; ``threads`` are those of an operator."""
    options = import_onnx('onnxruntime').SessionOptions()
    options.intra_op_num_threads = threads or 0
    return import_onnx('onnxruntime').InferenceSession(str(path), options)
