"""What a file says of itself, see :mod:`lightvit_dense_runtime.metadata`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram

from lightvit_dense_runtime.metadata import FORMAT

from .. import __version__
from ..utils.io import sha256
from .graph import Graph


def describe(
    graph: Graph,
    config: str | Path,
    checkpoint: str | Path,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the metadata that do not depend on the runtime."""
    return dict(
        format=FORMAT,
        version=__version__,
        task=graph.task,
        config=Path(config).name,
        checkpoint=Path(checkpoint).name,
        checkpoint_sha256=sha256(checkpoint),
        classes=list(classes),
        limits=graph.limits(),
        **graph.about(),
    )


def signature(graph: Graph, program: ExportedProgram) -> dict[str, list[dict[str, Any]]]:
    """Return name, type and shape of inputs and outputs; free axes are None."""
    nodes = {node.name: node for node in program.graph.nodes}
    sides = dict(
        inputs=(graph.input_names, program.graph_signature.user_inputs),
        outputs=(graph.output_names, program.graph_signature.user_outputs),
    )
    return {
        side: [_tensor(name, nodes[node].meta['val']) for name, node in zip(*pair, strict=True)]
        for side, pair in sides.items()
    }


def _tensor(name: str, value: Tensor) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else None for size in value.shape]
    return dict(name=name, dtype=str(value.dtype).removeprefix('torch.'), shape=shape)
