"""What a file says of itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..utils.io import sha256
from .graph import Graph

KEY = 'lightvit_dense'
FORMAT = 1


def describe(
    graph: Graph,
    config: str | Path,
    checkpoint: str | Path,
    classes: Sequence[str] = (),
    precision: str = 'fp32',
) -> dict[str, Any]:
    """Return the metadata of a file, but for its inputs and outputs, as plain data."""
    return dict(
        format=FORMAT,
        version=__version__,
        task=graph.task,
        precision=precision,
        config=Path(config).name,
        checkpoint=Path(checkpoint).name,
        checkpoint_sha256=sha256(checkpoint),
        classes=list(classes),
        limits=graph.limits(),
    )
