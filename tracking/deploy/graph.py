"""A tracker as one file."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.deploy import Graph
from lightvit_dense.errors import UserError

from ..registry import GRAPHS
from .frame_module import FrameModule


def fingerprint(model: Any, window: bool, eliminate: bool = True) -> str:
    """Return a number that other weights, sizes or options would change."""
    backbone, values = model.backbone.eval(), model.data_preprocessor
    kept = backbone.candidates(backbone.search_grid[0] * backbone.search_grid[1])
    options = [window, eliminate, kept, backbone.template_tokens, type(backbone).__name__]
    options += [*model.sizes, values.mean.tolist(), values.std.tolist()]
    digest = hashlib.sha256(json.dumps(options).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f'{name} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@GRAPHS.register_module()
class TrackingGraph(Graph):
    """One frame of an :class:`OneStreamTracker`.

    ``template`` uint8 [h, w, 3], ``box`` float32 [4] (x, y, width and height of the target in parts
    of the template) and ``search`` uint8 [H, W, 3] give ``found`` float32 [5] (x, y, width, height
    in pixels of the search crop, and the score) and ``cells`` int64 [K], the search tokens that are
    left at the end. The window, the choice of the cell and the decoding are inside.

    Args:
        model: The built tracker.
        cfg: Its config.
        size: Must be None: crops have the sizes of the config.
        window: Whether a Hann window favours the middle; by default as ``test_cfg`` says.
        eliminate: Whether search tokens drop out.
    """

    task = 'tracking'
    input_names = ('template', 'box', 'search')
    output_names = ('found', 'cells')
    body = ('frame.encoder', 'frame.head.score', 'frame.head.place')

    def __init__(
        self,
        model: Any,
        cfg: Any = None,
        size: Any = None,
        window: bool | None = None,
        eliminate: bool = True,
    ) -> None:
        super().__init__(model, cfg, size)
        if size is not None:
            raise UserError('a tracker has the sizes of its config: leave out the size')
        window = bool(model.test_cfg['window'] if window is None else window)
        frame: Any = FrameModule(model, window, eliminate)
        self.frame = frame.to(memory_format=torch.contiguous_format)  # XNNPACK takes no other
        names = ('template_size', 'search_size', 'template_factor', 'search_factor')
        self._about = {name: getattr(model, name) for name in names}
        self._about |= dict(window=window, margin=model.test_cfg['margin'])
        self._about['fingerprint'] = fingerprint(model, window, eliminate)

    def about(self) -> dict[str, Any]:
        """Return what a runtime needs beside the network, and what the file was made of."""
        return self._about

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs for tracing."""
        generator = torch.Generator().manual_seed(0)
        sides = (self._about['template_size'], self._about['search_size'])
        template, search = (
            torch.randint(0, 256, (s, s, 3), generator=generator, dtype=torch.uint8) for s in sides
        )
        return template, torch.tensor([0.25, 0.25, 0.5, 0.5]), search

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Return no free axes."""
        return {name: {} for name in self.input_names}

    def limits(self) -> dict[str, Any]:
        """Return nothing: the shapes of the inputs say all."""
        return {}

    def forward(self, template: Tensor, box: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        """Find the target of a template in a search crop."""
        return self.frame(search, *self.frame.template(template, box))
