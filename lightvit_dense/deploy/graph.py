"""What an exported file computes: a model between an image as it comes and what a user wants."""

from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim

from ..apis.inferencers import task_of_class
from ..errors import UserError, require_known
from ..registry import GRAPHS

Size = tuple[int, int]
KINDS = {
    'classification': 'lightvit_dense.ClassificationGraph',
    'features': 'lightvit_dense.FeaturesGraph',
    'detection': 'lightvit_dense.DetectionGraph',
    'segmentation': 'lightvit_dense.SegmentationGraph',
    'tracking': 'tracking.TrackingGraph',
}
"""Graphs by task."""
SMALLEST, LARGEST = 4, 4096
"""Pixels of a side of an image."""


class Graph(nn.Module):
    """A model in evaluation mode with tensors in and tensors out, fp32 on the CPU.

    ``forward`` returns a tensor, or a tuple in the order of ``output_names``.

    Args:
        model: The built model.
        cfg: The config that it was built from.
        size: (height, width) in pixels of the network's input; None for that of the config.
    """

    task = ''
    input_names: tuple[str, ...] = ('image',)
    output_names: tuple[str, ...] = ()
    body: tuple[str, ...] = ('model',)
    """Sub-modules that may compute in fewer bits; sizes and coordinates need fp32."""

    def __init__(self, model: nn.Module, cfg: Config, size: Size | None = None) -> None:
        super().__init__()

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs for tracing: images uint8 [B, H, W, 3]."""
        generator = torch.Generator().manual_seed(0)
        return (torch.randint(0, 256, (2, 90, 120, 3), generator=generator, dtype=torch.uint8),)

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Return the free axes of each input."""
        side = dict(min=SMALLEST, max=LARGEST)
        return {'image': {0: Dim('batch'), 1: Dim('height', **side), 2: Dim('width', **side)}}

    def limits(self) -> dict[str, Any]:
        """Return what inputs the file takes: ``min_size`` and ``max_size``, (height, width)."""
        return dict(min_size=[SMALLEST] * 2, max_size=[LARGEST] * 2)

    def about(self) -> dict[str, Any]:
        """Return what the metadata say besides, as plain data."""
        return {}

    def finish(self, model: Any) -> None:
        """Say in the ONNX model of this graph what torch's operators cannot."""

    def refuse(self, to: str) -> str | None:
        """Return why a runtime cannot run this model, with the remedy; None if it can."""
        return None


def make_graph(
    model: nn.Module, cfg: Config, size: Size | None = None, task: str | None = None
) -> Graph:
    """Build the graph of a model; ``task`` is the model's own unless it is 'features'."""
    task = task or task_of_class(type(model))
    if task is None:
        raise UserError(
            f'{type(model).__name__} is for no task; its backbone can be exported for the task '
            'features'
        )
    require_known(task, KINDS, 'task')
    # Built from a dict, a graph would be looked up in the config's default scope, which has none.
    graph: Graph = GRAPHS.get(KINDS[task])(model, cfg, size)
    # A bias that needs a gradient takes another kernel of attention, with other strides.
    return graph.requires_grad_(False).eval()
