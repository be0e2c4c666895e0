"""A loaded model and what can be asked of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from lightvit_dense.apis.configs import prepare_scope
from lightvit_dense.apis.inference import (
    DetectionInferencer,
    Detections,
    Segmentation,
    SegmentationInferencer,
)
from lightvit_dense.apis.inference.classes import class_names
from lightvit_dense.errors import UserError
from lightvit_dense.registry import INFERENCERS

from .features import (
    attention_maps,
    check_layers,
    check_pool,
    pooled,
    side_multiple,
)
from .images import BatchReader, each, is_single, plain_pipeline, resized_pipeline

EXAMPLES = {
    'classification': 'finetune_dmae_vit-tiny_300e',
    'detection': 'maskrcnn_dmae_tiny',
    'segmentation': 'upernet_dmae_tiny',
    'tracking': 'ostrack256_dmae_tiny',
}
"""Tasks with a config of ours for each."""
Layers = int | Sequence[int] | None


class Model:
    """A model with its weights, frozen and in evaluation mode.

    Images are paths of pictures, folders or videos, arrays uint8 [H, W, 3] or [B, H, W, 3] in RGB
    order, PIL images, uint8 tensors [3, H, W] or [B, 3, H, W], or iterables of these. A float
    tensor [B, 3, H, W] is taken as normalised already. Every result has a first dimension, or is a
    list, for the images, but where one image was given to :meth:`boxes` or :meth:`masks`.

    Args:
        task: 'features', 'classification', 'detection', 'segmentation' or 'tracking'.
        backbone: The backbone.
        network: The whole model; None for a backbone alone.
        cfg: What it was built from.
        path: The file of its weights.
        image_size: (height, width) in pixels of the inputs of :meth:`features`,
            :meth:`attention` and :meth:`logits`; None for the size it was trained with.

    Attributes:
        notes: What was done to the weights when they were loaded.

    Raises:
        UserError: If ``image_size`` is not possible.
    """

    def __init__(
        self,
        task: str,
        backbone: nn.Module,
        network: nn.Module | None,
        cfg: Config,
        path: Path,
        image_size: tuple[int, int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.task, self.path, self.cfg = task, path, cfg
        self.backbone: Any = backbone.requires_grad_(False).eval()
        self.network: Any = None if network is None else network.requires_grad_(False).eval()
        self.notes = list(notes)
        if task == 'tracking' and image_size is not None:
            raise UserError('image_size: a tracker looks at crops of the size that its config says')
        self.image_size = image_size or self._trained_size()
        self._reader = self._make_reader(image_size)
        self._inferencers: dict[Any, Any] = {}
        self._tracker: Any = None

    def __repr__(self) -> str:
        """Return a line for people."""
        parameters = sum(p.numel() for p in (self.network or self.backbone).parameters())
        return (
            f'Model({self.task}, {type(self.network or self.backbone).__name__}, '
            f'{parameters / 1e6:.2f} M parameters, {self.path})'
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.backbone.parameters()).device

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes of a classifier, detector or segmentor."""
        self._need('classification', 'detection', 'segmentation', what='classes')
        return class_names(self.network, self.cfg)

    @torch.no_grad()
    def features(
        self, images: Any, layers: Layers = None, pool: str | None = None, batch_size: int = 32
    ) -> Any:
        """Return what the backbone makes of images.

        Args:
            images: See the class.
            layers: Layers to read, 1 for the first block, 0 for the embedding, before any final
                norm; None for the end, after it.
            pool: None for all tokens [B, prefix+N, C], class token first, patches in raster order;
                'mean' over the patches [B, C]; 'cls' for the class token [B, C]; 'map'
                [B, C, rows, columns].
            batch_size: Images to compute together.

        Returns:
            A tensor on the model's device; a dict of them by layer if ``layers`` are several.

        Raises:
            UserError: If an input cannot be used, or the backbone has no such layer or class token.
        """
        self._need_backbone()
        check_pool(self.backbone, pool)
        numbers = _listed(layers)
        if layers is not None:
            check_layers(self.backbone, numbers, 0)
        depth = self.backbone.num_layers

        def compute(batch: Tensor) -> dict[int, Tensor]:
            size = (batch.shape[-2], batch.shape[-1])
            found = self.backbone.encode(batch, hidden_of=numbers)
            tokens = dict(found.hidden) if layers is not None else {depth: found.tokens}
            return {n: pooled(self.backbone, x, n, size, pool) for n, x in tokens.items()}

        return _form(self._collect(images, batch_size, compute), layers, numbers or [depth])

    @torch.no_grad()
    def attention(
        self, images: Any, layers: Layers = None, class_token: bool = True, batch_size: int = 32
    ) -> Any:
        """Return attention maps after the softmax.

        Args:
            images: See the class.
            layers: Layers, 1 for the first block; None for the last.
            class_token: Whether the class token is among queries and keys. Without it the softmax
                is over the patches, so that rows add up to 1 in either case.
            batch_size: Images to compute together.

        Returns:
            [B, heads, queries, keys] on the model's device; a dict by layer if ``layers`` are
            several. In a Hiera and in layers with windows, queries stand window by window and keys
            are those of the query's window, padding included; see ``attention_shape``.

        Raises:
            UserError: If an input cannot be used, or a layer is not there.
        """
        self._need_backbone()
        numbers = _listed(layers) or [self.backbone.num_layers]
        check_layers(self.backbone, numbers, 1)
        found = self._collect(
            images,
            batch_size,
            lambda batch: attention_maps(self.backbone, batch, numbers, class_token),
        )
        return _form(found, layers, numbers)

    @torch.no_grad()
    def logits(self, images: Any, batch_size: int = 32) -> Tensor:
        """Return the scores of a classifier before the softmax [B, classes].

        Args:
            images: See the class.
            batch_size: Images to compute together.

        Raises:
            UserError: If this is no classifier, or an input cannot be used.
        """
        self._need('classification', what='class scores')
        found = self._collect(images, batch_size, lambda batch: {0: self.network(batch)})
        return found[0]

    def boxes(self, images: Any, score_thr: float = 0.3, batch_size: int = 1) -> Any:
        """Find objects.

        Args:
            images: See the class; pictures have their own size, float tensors are not taken.
            score_thr: Objects with lower scores are left out.
            batch_size: Images to look at together.

        Returns:
            :class:`~lightvit_dense.apis.inference.Detections`, a list of them unless a single image
            was given.

        Raises:
            UserError: If this is no detector, or an input cannot be used.
        """
        self._need('detection', what='boxes')
        key = ('detection', score_thr)
        if key not in self._inferencers:
            prepare_scope(self.cfg)
            made = DetectionInferencer(self.cfg, model=self.network, score_thr=score_thr)
            self._inferencers = {key: made}
        return self._infer(self._inferencers[key], images, batch_size)

    def masks(self, images: Any, score_thr: float = 0.3, batch_size: int = 1) -> Any:
        """Find the class of each pixel, or the pixels of each object.

        Args:
            images: As for :meth:`boxes`.
            score_thr: For a detector: objects with lower scores are left out.
            batch_size: Images to look at together.

        Returns:
            :class:`~lightvit_dense.apis.inference.Segmentation` of a segmentor,
            :class:`~lightvit_dense.apis.inference.Detections` with ``masks`` of a detector; a list
            of them unless a single image was given.

        Raises:
            UserError: If this is neither, the detector has no masks, or an input cannot be used.
        """
        self._need('segmentation', 'detection', what='masks')
        if self.task == 'detection':
            found: Detections | list[Detections] = self.boxes(images, score_thr, batch_size)
            some = found if isinstance(found, list) else [found]
            if any(result.masks is None for result in some):
                raise UserError(f'{self.path}: the detector finds boxes without masks; ask boxes()')
            return found
        if 'segmentation' not in self._inferencers:
            prepare_scope(self.cfg)
            self._inferencers['segmentation'] = SegmentationInferencer(self.cfg, model=self.network)
        result: Segmentation | list[Segmentation] = self._infer(
            self._inferencers['segmentation'], images, batch_size
        )
        return result

    def track(self, frames: Any, box: Sequence[float] | np.ndarray) -> Iterator[Any]:
        """Follow a target through a video, a folder of frames, or any frames, one at a time.

        Args:
            frames: The file of a video, a folder of frames in natural order, or an iterable of
                frames: paths, arrays uint8 [H, W, 3], PIL images, uint8 tensors [3, H, W].
            box: x, y, width, height in pixels of the first frame.

        Returns:
            An iterator of results with ``box`` (x, y, width, height, float64 [4]) and ``score`` in
            0..1, one a frame; the first has the box that was given.

        Raises:
            UserError: If this is no tracker, or box or frames cannot be used.
        """
        self._need('tracking', what='tracks')
        if self._tracker is None:
            tracker = dict(type='tracking.Tracker', model=self.network)
            self._tracker = INFERENCERS.build(tracker)
        source = frames if isinstance(frames, (str, Path)) else each(frames)
        return self._tracker.follow(source, box)

    def _need(self, *tasks: str, what: str) -> None:
        if self.task in tasks:
            return
        others = ' or '.join(f'{EXAMPLES[task]!r} ({task})' for task in tasks)
        has = 'a backbone alone' if self.task == 'features' else f'for {self.task}'
        raise UserError(
            f'{self.path}: is {has}, which gives no {what}. Load a checkpoint of a config such as '
            f'{others}'
        )

    def _need_backbone(self) -> None:
        if self.task == 'classification' and not hasattr(self.backbone, 'encode'):
            raise UserError(
                f'{self.path}: {type(self.backbone).__name__} is a convolutional network, without '
                'tokens and attention. Its scores are given by logits()'
            )
        if not hasattr(self.backbone, 'encode') or self.task == 'tracking':
            raise UserError(
                f'{self.path}: the backbone of this model ({type(self.backbone).__name__}) does '
                "not take single images. Load it alone: load(..., task='features'); what a tracker "
                'looks at in a frame is told by attention(frame) of tracking.Tracker(network)'
            )

    def _collect(
        self, images: Any, batch_size: int, compute: Callable[[Tensor], dict[int, Tensor]]
    ) -> dict[int, Tensor]:
        parts: dict[int, list[Tensor]] = {}
        for batch in self._reader(images, batch_size):
            for layer, value in compute(batch).items():
                parts.setdefault(layer, []).append(value)
        return {layer: torch.cat(values) for layer, values in parts.items()}

    @staticmethod
    def _infer(inferencer: Any, images: Any, batch_size: int) -> Any:
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size}: must be positive')
        found = inferencer(each(images), batch_size)
        return found[0] if is_single(images) else found

    def _trained_size(self) -> tuple[int, int]:
        step = self.backbone.patch_size
        rows, columns = self.backbone.grid_size
        return (rows * step, columns * step)

    def _make_reader(self, image_size: tuple[int, int] | None) -> BatchReader:
        step = side_multiple(self.backbone)
        if image_size is not None and (min(image_size) < step or any(s % step for s in image_size)):
            raise UserError(
                f'image_size={image_size[0]}x{image_size[1]}: the sides must be multiples of '
                f'{step} pixels for this backbone'
            )
        cfg = self.cfg
        own = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline')
        if self.task != 'classification' or not own:
            cfg = plain_pipeline(self.image_size)
        elif image_size is not None:
            cfg = resized_pipeline(cfg, image_size)
        normaliser = (self.cfg.get('model') or {}).get('data_preprocessor') or {}
        mean = normaliser.get('mean') or [123.675, 116.28, 103.53]
        std = normaliser.get('std') or [58.395, 57.12, 57.375]
        return BatchReader(cfg, mean, std, step, self.device)


def _listed(layers: Layers) -> list[int]:
    if layers is None:
        return []
    return [layers] if isinstance(layers, int) or not isinstance(layers, Iterable) else list(layers)


def _form(found: dict[int, Tensor], layers: Layers, numbers: list[int]) -> Any:
    """Return one tensor where one layer was asked for, else all by layer."""
    if layers is None or isinstance(layers, int):
        return found[numbers[0]]
    return {number: found[number] for number in numbers}
