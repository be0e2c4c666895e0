"""A tracker as one calls it: the target's box once, then a frame at a time."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import ArrayLike
from torch import nn

import lightvit_dense_runtime as runtime
from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.inference.sources import check_array
from lightvit_dense.datasets.transforms.loading import BadImage, decode
from lightvit_dense.errors import UserError
from lightvit_dense.utils.devices import check_device
from lightvit_dense_runtime.crops import Target
from lightvit_dense_runtime.networks import RUNTIMES
from lightvit_dense_runtime.tasks import TrackResult

from ..models.joint_attention import FrameAttention, joint_attention
from ..models.one_stream import TEST_CFG
from ..registry import INFERENCERS
from .network import PlainNetwork, build_network
from .video import FrameSource

Frame = np.ndarray | str | Path
_SIZES = ('template_size', 'search_size', 'template_factor', 'search_factor')


@dataclass
class Timings:
    """Seconds that :meth:`Tracker.update` spent since :meth:`Tracker.init`, by part."""

    frames: int = 0
    # Cut and resize; with the choice of the box; back to the frame and clipping.
    total: dict[str, float] = field(default_factory=lambda: dict(crop=0.0, network=0.0, post=0.0))
    last: dict[str, float] = field(default_factory=dict)

    def add(self, stamps: tuple[float, float, float, float]) -> None:
        """Take the times at which the parts of an update began and the last one ended."""
        self.last = dict(zip(self.total, np.diff(stamps).tolist(), strict=True))
        for name, seconds in self.last.items():
            self.total[name] += seconds
        self.frames += 1

    @property
    def fps(self) -> float:
        """Updates a second; 0 before the first."""
        seconds = sum(self.total.values())
        return self.frames / seconds if seconds else 0.0


@INFERENCERS.register_module()
class Tracker:
    """Follows a target, or several, as OSTrack (Ye et al., ECCV 2022) does at inference.

    The search crop is cut around the last box; the network's box is mapped back to the frame and
    clipped so that some of it stays inside. The template is that of the first frame for good::

        tracker = Tracker('config.py', 'checkpoint.pth')
        tracker.init(frame, (x, y, width, height))
        for frame in frames:
            result = tracker.update(frame)

    or ``for result in tracker.follow('video.mp4', (x, y, width, height))``. Several targets, whose
    boxes ``init`` takes in a list, go through the network together; ``update_all`` gives a result
    for each, which is what it is of that target alone. ``timings`` are those of the updates since
    ``init``.

    Args:
        model: Config or its path; or a model in memory, which is used on its device. Later changes
            of its weights need not reach the tracker. Or an exported file, which has all but
            ``device``, ``threads`` and ``margin``.
        checkpoint: Weights for a config; without one those of its ``init_cfg``, which do not track.
        device: 'cpu', 'cuda', ... for a config; a GPU if there is one.
        backend: How the network is computed, see :func:`~tracking.runtime.network.build_network`.
        threads: Threads of the network; the runtime's choice by default.
        path: Exported file, for the backend 'exported'.
        window: Whether a Hann window favours the middle of the search crop; by default as the
            model's ``test_cfg`` says.
        margin: Pixels of the box that are kept in the frame, and its least side; likewise.
    """

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        backend: str = 'torch',
        threads: int | None = None,
        path: str | Path | None = None,
        window: bool | None = None,
        margin: float | None = None,
    ) -> None:
        if margin is not None and margin <= 0:
            raise UserError(f'margin={margin}: must be positive, in pixels')
        self.model: Any = None
        if isinstance(model, (str, Path)) and Path(model).suffix in RUNTIMES:
            if any((checkpoint, path, backend != 'torch', window is not None)):
                raise UserError(f'{model} is an exported file: it takes device and threads alone')
            options: Any = dict(provider=str(device or 'cpu'), threads=threads)
            self.network: Any = runtime.Tracker(model, **options)
            known: dict[str, Any] = self.network.metadata
        else:
            if not isinstance(model, nn.Module):
                model = build_model(model, checkpoint, check_device(device))
            elif checkpoint is not None or device is not None:
                raise UserError(
                    'checkpoint and device go with a config; a model in memory has both'
                )
            if not all(hasattr(model, name) for name in _SIZES):
                raise UserError(
                    f'the model of the config is a {type(model).__name__}, which does not track; '
                    'give the config of a tracking.OneStreamTracker'
                )
            known = {**TEST_CFG, **(getattr(model, 'test_cfg', None) or {})}
            known |= {name: getattr(model, name) for name in _SIZES}
            self._window = bool(known['window'] if window is None else window)
            self.model = model
            self.network = build_network(model, backend, threads, path, self._window)
        self.margin = known['margin'] if margin is None else margin
        self._settings = {**known, 'margin': self.margin}
        self.timings = Timings()
        self._targets: list[Target] = []

    def init(self, frame: Frame, box: ArrayLike) -> None:
        """Take a target to follow, or several; what was followed before is forgotten.

        The frame is RGB uint8 [H, W, 3], grey [H, W] or a file; the box x, y, width, height in
        pixels, or the boxes of all targets [K, 4].
        """
        pixels = as_frame(frame)
        given: Any = box
        several = hasattr(given, '__len__') and len(given) > 0 and np.ndim(given[0]) == 1
        boxes = given if several else [given]
        targets = [Target(pixels, one, self._settings) for one in boxes]
        templates = [(target.template, target.template_box) for target in targets]
        self.network.set_templates(*zip(*templates, strict=True))
        self._targets = targets
        self.timings = Timings()

    def update(self, frame: Frame) -> TrackResult:
        """Find the target in the next frame, as :meth:`init` takes it, perhaps of another size."""
        if len(self._targets) > 1:
            raise UserError(f'the tracker follows {len(self._targets)} targets: call update_all')
        return self.update_all(frame)[0]

    def update_all(self, frame: Frame) -> list[TrackResult]:
        """Find all targets in the next frame, in the order of their first boxes."""
        pixels = as_frame(frame)
        began = time.perf_counter()
        crops = self._search(pixels)
        cut = time.perf_counter()
        found = self.network.find_all(crops)
        computed = time.perf_counter()
        results = [
            TrackResult(target.move(box), float(score))
            for target, (box, score) in zip(self._targets, found, strict=True)
        ]
        self.timings.add((began, cut, computed, time.perf_counter()))
        return results

    def _search(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return the crops around the last boxes."""
        if not self._targets:
            raise UserError('the tracker has no target yet: call init(frame, box) first')
        return [target.search(pixels) for target in self._targets]

    def attention(self, frame: Frame, blocks: Sequence[int] | None = None) -> FrameAttention:
        """Tell what the network would look at in the next frame; the target is not moved.

        Of several targets it is the first. The model as it is trained is computed. Blocks count
        from 0; all that attend over both images by default.
        """
        if self.model is None:
            raise UserError('attention needs the config and the checkpoint of an exported file')
        crop, first = self._search(as_frame(frame))[0], self._targets[0]
        network = PlainNetwork(self.model, self._window)
        network.set_template(first.template, first.template_box)
        inputs, samples = network.pairs([crop])
        pair = inputs['template'], inputs['search']
        mask = self.model.template_mask(samples, pair[1].device)
        found = joint_attention(self.model.backbone, *pair, mask, blocks)
        return FrameAttention(first.template, crop, *network(crop), found)

    def follow(self, source: str | Path | Iterable[Frame], box: ArrayLike) -> Iterator[TrackResult]:
        """Follow a target through a video, a folder in natural order, or frames, one at a time.

        Yields where it is in each frame; in the first the box that was given, with score 1.
        """
        frames = FrameSource(source) if isinstance(source, (str, Path)) else source
        for index, frame in enumerate(frames):
            if index:
                yield self.update(frame)
            else:
                self.init(frame, box)
                yield TrackResult(np.array(box, np.float64), 1.0)


def as_frame(frame: Frame) -> np.ndarray:
    """Return a frame (RGB, grey, or the file of a picture) as RGB uint8 [H, W, 3]."""
    if not isinstance(frame, (str, Path)):
        return check_array(frame)
    try:
        return decode(Path(frame).read_bytes(), 'rgb')
    except (BadImage, OSError) as error:
        raise UserError(f'frame {frame}: cannot be read ({error})') from error
