"""The network of a tracker, computed in one of several ways.

It is given the template once and then a search crop each frame::

    network = build_network(model)
    network.set_template(template_crop, box_in_crop)
    box, score = network(search_crop)
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.errors import UserError, require_known
from lightvit_dense_runtime.tasks import Tracker as ExportedTracker

from ..deploy import fingerprint
from ..deploy.frame_module import FrameModule
from ..deploy.frame_network import Found, FrameNetwork
from ..models.decoding import decode_maps, hann_window, tied_boxes
from ..structures import TrackSample

BACKENDS = ('torch', 'plain', 'exported')
"""Ways to compute a frame.

'torch' needs nothing but torch and has all needless work taken out; 'plain' is the model as it is
trained; 'exported' is a file of ``tools/deploy/export.py`` in its runtime, on the CPU, several
targets one after the other.
"""


class PlainNetwork(FrameNetwork):
    """The model as it is trained, called with a pair of each target; on any device."""

    def __init__(self, model: Any, window: bool = True, eliminate: bool = True) -> None:
        super().__init__(model)
        self.window, self.eliminate = window, eliminate

    def _begin(self, crop: np.ndarray, box: Tensor) -> tuple[np.ndarray, TrackSample]:
        return crop, TrackSample(template_box=box)

    def pairs(self, crops: list[np.ndarray]) -> tuple[dict[str, Tensor], list[TrackSample]]:
        """Return the normalised pairs of templates and search crops, and their samples."""
        templates, samples = zip(*self._states, strict=True)
        # [H, W, 3] -> [3, H, W]
        inputs = {
            name: [torch.from_numpy(image).permute(2, 0, 1) for image in images]
            for name, images in (('template', templates), ('search', crops))
        }
        data = self.model.data_preprocessor(dict(inputs=inputs, data_samples=[*samples]), False)
        return data['inputs'], data['data_samples']

    @torch.inference_mode()
    def _decoded(self, crops: list[np.ndarray]) -> list[tuple[Any, ...]]:
        """Return what :func:`decode_maps` takes, for each pair."""
        backbone = self.model.backbone
        known = backbone.final_keep_ratio
        if not self.eliminate:
            backbone.final_keep_ratio = 1.0
        try:
            maps = self.model(*self.pairs(crops), mode='tensor')
        finally:
            backbone.final_keep_ratio = known
        scores, sizes, offsets = (map_.float().cpu().numpy() for map_ in maps)
        window = hann_window(*scores.shape[2:]) if self.window else None
        triples = zip(scores[:, 0], sizes, offsets, strict=True)
        return [(*triple, window, crops[0].shape[:2]) for triple in triples]

    def _find(self, crops: list[np.ndarray]) -> list[Found]:
        return [decode_maps(*maps) for maps in self._decoded(crops)]

    def tied(self, crop: np.ndarray) -> np.ndarray:
        """Return all boxes [K, 4] that are the best up to rounding; see :func:`tied_boxes`."""
        return tied_boxes(*self._decoded([crop])[0])


class TorchNetwork(FrameNetwork):
    """The model without needless work, in torch; on any device."""

    def __init__(self, model: Any, window: bool = True, eliminate: bool = True) -> None:
        super().__init__(model)
        self.device = next(model.parameters()).device
        self.module = FrameModule(model, window, eliminate).eval().to(self.device)

    def _begin(self, crop: np.ndarray, box: Tensor) -> tuple[Tensor, ...]:
        return self.module.template(torch.from_numpy(crop).to(self.device), box.to(self.device))

    def _find(self, crops: list[np.ndarray]) -> list[Found]:
        images = [torch.from_numpy(crop).to(self.device) for crop in crops]
        if len(images) == 1:
            rows = self.module(images[0], *self._states[0])[0][None]
        else:
            states = map(torch.stack, zip(*self._states, strict=True))
            with warnings.catch_warnings():
                # On a CPU attention alone is computed target by target, at no cost.
                warnings.filterwarnings('ignore', 'There is a performance drop')
                rows = torch.vmap(self.module)(torch.stack(images), *states)[0]
        return [(row[:4].astype(np.float64), float(row[4])) for row in rows.cpu().numpy()]


def build_network(
    model: Any,
    backend: str = 'torch',
    threads: int | None = None,
    path: str | Path | None = None,
    window: bool | None = None,
    eliminate: bool = True,
) -> Any:
    """Make the network that a runtime tracker calls; it copies the weights.

    ``model`` is an :class:`OneStreamTracker` in evaluation mode, on its device, ``backend`` one of
    ``BACKENDS``. Threads are those of torch in this process, or of the other runtime; ``path`` is
    the exported file. ``window`` says whether a Hann window favours the middle of the search crop,
    ``eliminate`` whether search tokens drop out.
    """
    require_known(backend, BACKENDS, 'backend')
    if (path is not None) != (backend == 'exported'):
        raise UserError(
            "backend 'exported' needs path=FILE, which tools/deploy/export.py writes"
            if path is None
            else f'backend {backend!r} reads no files: leave out path={path}'
        )
    if window is None:
        window = bool(model.test_cfg['window'])
    if path is not None:
        network = ExportedTracker(path, threads=threads)
        if network.metadata.get('fingerprint') != fingerprint(model, window, eliminate):
            raise UserError(
                f'{path} was exported from other weights or with other options than this tracker '
                'has; export it anew or name another file'
            )
        return network
    if threads is not None:
        torch.set_num_threads(threads)
    if backend == 'plain':
        return PlainNetwork(model, window, eliminate)
    return TorchNetwork(model, window, eliminate)
