"""The network of a tracker as it is called frame by frame: crops in, a box out.

A *frame network* is given the template once and then a search crop each frame::

    network = build_network(model)
    network.set_template(template_crop, box_in_crop)
    box, score = network(search_crop)
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.utils.environment import cpp_compiler

from ..structures import TrackSample
from .decoding import check_crop, decode_maps, hann_window, tied_boxes
from .frame_module import FrameModule, ranking_weights
from .onnx_network import OnnxNetwork

BACKENDS = ('torch', 'plain', 'compiled', 'onnx', 'onnx-int8')
"""Ways to compute a frame.

'torch' needs nothing but torch and has all needless work taken out; 'plain' is the model as it is
trained; 'compiled' is 'torch' through ``torch.compile``, which needs a C++ compiler; 'onnx' and
'onnx-int8' need the package onnxruntime and run on the CPU.
"""


class FrameNetwork(Protocol):
    """What :func:`build_network` returns."""

    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template: RGB uint8 [h, w, 3], and the target's box [4] in pixels of it."""

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in a search crop, RGB uint8 [H, W, 3].

        Returns:
            The box [4] as x, y, width, height in pixels of the crop and its score in 0..1.
        """


class PlainNetwork:
    """The model as it is trained, called with one pair; on any device.

    Args:
        model: An :class:`OneStreamTracker` in evaluation mode.
        window: Whether the Hann window favours the middle of the search crop.
        eliminate: False to keep all search tokens.
    """

    def __init__(self, model: Any, window: bool = True, eliminate: bool = True) -> None:
        self.model = model.eval()
        self.window, self.eliminate = window, eliminate
        self._template: np.ndarray | None = None
        self._sample: TrackSample | None = None

    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template: RGB uint8 [h, w, 3], and the target's box [4] in pixels of it."""
        check_crop(crop, 'template', self.model.template_size)
        self._template = crop
        parts = torch.as_tensor(np.asarray(box, np.float32)) / self.model.template_size
        self._sample = TrackSample(template_box=parts)

    def pair(self, crop: np.ndarray) -> tuple[dict[str, Tensor], list[TrackSample]]:
        """Return the normalised pair of the template and a search crop, and its sample."""
        if self._template is None:
            raise ValueError('the network has no template yet: call set_template first')
        check_crop(crop, 'search', self.model.search_size)
        # [H, W, 3] -> [3, H, W]
        template, search = (
            torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1)
            for x in (self._template, crop)
        )
        inputs = dict(template=[template], search=[search])
        data = self.model.data_preprocessor(dict(inputs=inputs, data_samples=[self._sample]), False)
        return data['inputs'], data['data_samples']

    @torch.inference_mode()
    def _decoded(self, crop: np.ndarray) -> tuple[Any, ...]:
        """Return what :func:`decode_maps` takes."""
        with self._keeping():
            maps = self.model(*self.pair(crop), mode='tensor')
        score, size, offset = (map_[0].float().cpu().numpy() for map_ in maps)
        window = hann_window(*score.shape[1:]) if self.window else None
        return score[0], size, offset, window, crop.shape[:2]

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in a search crop, RGB uint8 [H, W, 3]; see :class:`FrameNetwork`."""
        return decode_maps(*self._decoded(crop))

    def tied(self, crop: np.ndarray) -> np.ndarray:
        """Return all boxes [K, 4] that are the best up to rounding; see :func:`tied_boxes`."""
        return tied_boxes(*self._decoded(crop))

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Let the model keep all search tokens, if that is asked for."""
        backbone = self.model.backbone
        known = backbone.final_keep_ratio
        if not self.eliminate:
            backbone.final_keep_ratio = 1.0
        try:
            yield
        finally:
            backbone.final_keep_ratio = known


class TorchNetwork:
    """The model without needless work, in torch; on any device.

    Args:
        model: An :class:`OneStreamTracker` in evaluation mode.
        window: Whether the Hann window favours the middle of the search crop.
        eliminate: False to keep all search tokens.
        compile: Whether ``torch.compile`` makes one program of it.
    """

    def __init__(
        self, model: Any, window: bool = True, eliminate: bool = True, compile: bool = False
    ) -> None:
        self.model = model.eval()
        self.module = FrameModule(model, window, eliminate).eval()
        self.device = next(model.parameters()).device
        self.module.to(self.device)
        self._run: Any = torch.compile(self.module, dynamic=False) if compile else self.module
        self._state: tuple[Tensor, ...] = ()

    def _tensor(self, crop: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(crop)).to(self.device)

    @torch.inference_mode()
    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template; see :class:`FrameNetwork`."""
        side = self.model.template_size
        check_crop(crop, 'template', side)
        parts = torch.as_tensor(np.asarray(box, np.float32)) / side
        weights = ranking_weights(self.model, self.module, parts)
        self._state = (*self.module.template(self._tensor(crop)), weights)

    @torch.inference_mode()
    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in a search crop, RGB uint8 [H, W, 3]; see :class:`FrameNetwork`."""
        if not self._state:
            raise ValueError('the network has no template yet: call set_template first')
        check_crop(crop, 'search', self.model.search_size)
        found = self._run(self._tensor(crop), *self._state).cpu().numpy()
        return found[:4].astype(np.float64), float(found[4])


def build_network(
    model: Any,
    backend: str = 'torch',
    threads: int | None = None,
    path: str | Path | None = None,
    window: bool | None = None,
    eliminate: bool = True,
) -> FrameNetwork:
    """Make the network that a runtime tracker calls.

    It copies the weights: make another one after the model has been trained further.

    Args:
        model: An :class:`OneStreamTracker` in evaluation mode, on its device.
        backend: One of ``BACKENDS``.
        threads: Threads of torch in this process, or of the other runtime; its choice by default.
        path: Folder of exported files, for the backends that read some.
        window: Whether the Hann window favours the middle of the search crop; what the model's
            ``test_cfg`` says by default.
        eliminate: False to keep all search tokens, whatever the model says.

    Raises:
        UserError: If the backend is unknown, lacks a package or a compiler, or gets files that it
            does not read or that are of another model.
    """
    if backend not in BACKENDS:
        raise UserError(
            f'backend {backend!r} is unknown; choose from {", ".join(BACKENDS)}.'
            f'{did_you_mean(backend, BACKENDS)}'
        )
    if window is None:
        window = bool(model.test_cfg['window'])
    if backend.startswith('onnx'):
        return OnnxNetwork(model, path, window, eliminate, backend == 'onnx-int8', threads)
    if path is not None:
        raise UserError(f'backend {backend!r} reads no files: leave out path={path}')
    if threads is not None:
        torch.set_num_threads(threads)
    if backend == 'compiled' and next(model.parameters()).is_cpu and cpp_compiler() is None:
        raise UserError(
            "backend 'compiled' needs a C++ compiler (g++ or clang++): install one, or take 'torch'"
        )
    if backend == 'plain':
        return PlainNetwork(model, window, eliminate)
    return TorchNetwork(model, window, eliminate, compile=backend == 'compiled')
