"""A loaded model and what can be asked of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from lightvit_dense.apis.classes import class_names
from lightvit_dense.apis.configs import name_of, prepare_scope, tested_dataset
from lightvit_dense.apis.images import (
    BatchReader,
    each,
    evaluation_pipeline,
    is_single,
    resized_pipeline,
)
from lightvit_dense.apis.inferencers import DetectionInferencer, SegmentationInferencer
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.models.backbones import VisionTransformer
from lightvit_dense.registry import INFERENCERS, MODELS
from lightvit_dense.representation import to_map
from lightvit_dense.utils.constants import IMAGENET_MEAN, IMAGENET_STD
from lightvit_dense.visualization import draw_tokens

EXAMPLES = {
    'classification': 'finetune_dmae_vit-tiny_300e',
    'detection': 'maskrcnn_dmae_tiny',
    'segmentation': 'upernet_dmae_tiny',
    'tracking': 'ostrack256_dmae_tiny',
}
"""Tasks with a config of ours for each."""
POOLS = ('mean', 'cls', 'map')
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
        cfg: What it was built from.
        path: The file of its weights; None for random ones.
        network: The whole model; None for a backbone alone.
        image_size: (height, width) in pixels of the inputs of :meth:`features`,
            :meth:`attention` and :meth:`logits`; None for the size it was trained with.
        notes: What was done to the weights when they were loaded.
        title: Name in tables and pictures; the stem of its file by default.
        identity: What features depend on besides the images, as plain data.

    Raises:
        UserError: If ``image_size`` is not possible.
    """

    def __init__(
        self,
        task: str,
        backbone: nn.Module,
        cfg: Config,
        path: Path | None,
        network: nn.Module | None = None,
        image_size: tuple[int, int] | None = None,
        notes: Sequence[str] = (),
        title: str | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        if task == 'tracking' and image_size is not None:
            raise UserError('image_size: a tracker looks at crops of the size that its config says')
        self.task, self.path, self.cfg = task, path, cfg
        self.backbone: Any = backbone.requires_grad_(False).eval()
        self.network: Any = None if network is None else network.requires_grad_(False).eval()
        self.notes, self.identity = list(notes), identity or {}
        self.title = title or (path.stem if path else name_of(cfg))
        normaliser = (cfg.get('model') or {}).get('data_preprocessor') or {}
        self.mean = tuple(map(float, normaliser.get('mean') or IMAGENET_MEAN))
        self.std = tuple(map(float, normaliser.get('std') or IMAGENET_STD))
        step: Any = self.backbone.patch_size
        grid: Any = self.backbone.grid_size
        self.image_size = image_size or (grid[0] * step, grid[1] * step)
        self._reader = self._make_reader(image_size)
        self._inferencers: dict[type, Any] = {}

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

    @property
    def side_multiple(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return getattr(self.backbone, 'unit_size', self.backbone.patch_size)

    @cached_property
    def preprocessor(self) -> Any:
        """The normaliser of the config, which takes batches as data loaders collate them."""
        preprocessor: Any = MODELS.build(self.cfg.model.data_preprocessor)
        return preprocessor.to(self.device)

    @torch.no_grad()
    def features(
        self, images: Any, layers: Layers = None, pool: str | None = None, batch_size: int = 32
    ) -> Any:
        """Return what the backbone makes of images: a tensor, or a dict by layer if several.

        Args:
            images: See the class.
            layers: Layers to read, 1 for the first block, 0 for the embedding, before any final
                norm; None for the end, after it.
            pool: None for all tokens [B, prefix+N, C], class token first, patches in raster order;
                'mean' over the patches [B, C]; 'cls' for the class token [B, C]; 'map'
                [B, C, rows, columns].
            batch_size: Images to compute together.
        """
        self._need_backbone()
        if pool is not None and pool not in POOLS:
            raise UserError(
                f'pool={pool!r}: must be None or one of {", ".join(POOLS)}.'
                f'{did_you_mean(str(pool), POOLS)}'
            )
        if pool == 'cls' and not self.backbone.num_prefix_tokens:
            raise UserError("pool='cls': the backbone has no class token; give pool='mean'")
        numbers = [] if layers is None else self._numbers(layers, 0)

        def compute(batch: Tensor) -> dict[int, Tensor]:
            found = self.backbone.encode(batch, hidden_of=numbers)
            tokens = found.hidden if numbers else {self.backbone.num_layers: found.tokens}
            return {n: self._pooled(x, pool, batch) for n, x in tokens.items()}

        return self._collect(images, batch_size, compute, layers, numbers)

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
            [B, heads, queries, keys]; a dict by layer if ``layers`` are several. In a Hiera and in
            layers with windows, queries stand window by window and keys are those of the query's
            window, padding included; see ``attention_shape``.
        """
        self._need_backbone()
        depth, blocks = self.backbone.num_layers, self.backbone.blocks
        numbers = self._numbers(depth if layers is None else layers, 1)
        shifted = [n for n in numbers if any(getattr(blocks[n - 1], 'shift_size', ()))]
        if shifted:
            others = [n for n in range(1, depth + 1) if n not in shifted]
            raise UserError(
                f'layers={shifted}: attend in shifted windows, whose masks are not known here; '
                f'layers {others} do not'
            )
        prefix = 0 if class_token else self.backbone.num_prefix_tokens

        def compute(batch: Tensor) -> dict[int, Tensor]:
            logits = self.backbone.attention_logits(batch, numbers)
            return {n: logits[n][:, :, prefix:, prefix:].float().softmax(-1) for n in numbers}

        return self._collect(images, batch_size, compute, layers, numbers)

    @torch.no_grad()
    def token_picture(self, image: Any) -> np.ndarray:
        """Draw what the last layer makes of one image: RGB uint8, a row of pictures.

        They are the image as the network sees it, its patch tokens as colours
        (:func:`~lightvit_dense.visualization.pca_colors`), and for each head what the class token
        attends to; the mean over all queries where there is none. ``image_size`` of
        :func:`~lightvit_dense.load` makes the patches finer.

        Raises:
            UserError: If the last layer does not attend to the whole image, patch by patch.
        """
        self._need_backbone()
        batches = list(self._reader(image, 1))
        if len(batches) > 1:
            raise UserError(f'token_picture draws one image, {len(batches)} were given')
        plain = isinstance(self.backbone, VisionTransformer)
        if not plain or self.backbone.blocks[-1].window_size:
            raise UserError(
                f'{self.title}: the last layer does not attend to the whole image, patch by patch; '
                'token_picture needs a plain vision transformer'
            )
        features = self.features(batches[0], pool='map')[0]  # [C, rows, columns]
        attention = self.attention(batches[0])[0]  # [heads, prefix+N, prefix+N]
        prefix, places = self.backbone.num_prefix_tokens, tuple(features.shape[1:])
        rows = attention[:, 0, prefix:] if prefix else attention.mean(1)
        pixels = batches[0][0] * self._reader.std + self._reader.mean
        picture = pixels.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return draw_tokens(picture, features, rows.unflatten(1, places))

    @torch.no_grad()
    def logits(self, images: Any, batch_size: int = 32) -> Tensor:
        """Return the scores of a classifier before the softmax [B, classes]."""
        self._need('classification', what='class scores')
        return self._collect(images, batch_size, lambda batch: {0: self.network(batch)}, None, [0])

    def boxes(self, images: Any, score_thr: float = 0.3, batch_size: int = 1) -> Any:
        """Find objects: Detections, a list of them unless a single image was given.

        Args:
            images: See the class; pictures have their own size, float tensors are not taken.
            score_thr: Objects with lower scores are left out.
            batch_size: Images to look at together.
        """
        self._need('detection', what='boxes')
        if not 0 <= score_thr <= 1:
            raise UserError(f'score_thr must lie in 0..1, got {score_thr}')
        found = self._infer(DetectionInferencer, images, batch_size, score_thr=0.0)
        if isinstance(found, list):
            return [result.above(score_thr) for result in found]
        return found.above(score_thr)

    def masks(self, images: Any, score_thr: float = 0.3, batch_size: int = 1) -> Any:
        """Find the class of each pixel, or the pixels of each object; arguments as of ``boxes``.

        Returns:
            :class:`~lightvit_dense.apis.inference.Segmentation` of a segmentor,
            :class:`~lightvit_dense.apis.inference.Detections` with ``masks`` of a detector; a list
            of them unless a single image was given.
        """
        self._need('segmentation', 'detection', what='masks')
        if self.task == 'segmentation':
            return self._infer(SegmentationInferencer, images, batch_size)
        found = self.boxes(images, score_thr, batch_size)
        if any(result.masks is None for result in (found if isinstance(found, list) else [found])):
            raise UserError(f'{self.path}: the detector finds boxes without masks; ask boxes()')
        return found

    def track(self, frames: Any, box: Sequence[float] | np.ndarray) -> Iterator[Any]:
        """Follow a box (x, y, width, height in pixels of the first frame) through frames.

        ``frames`` are a video, a folder of frames in natural order, or an iterable of frames.
        Yields results with ``box`` (float64 [4] of the same kind) and ``score`` in 0..1, one each.
        """
        self._need('tracking', what='tracks')
        source = frames if isinstance(frames, (str, Path)) else each(frames)
        return self._tracker.follow(source, box)

    @cached_property
    def _tracker(self) -> Any:
        return INFERENCERS.build(dict(type='tracking.Tracker', model=self.network))

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

    def _numbers(self, layers: int | Sequence[int], first: int) -> list[int]:
        """Return layers as a list, all of which the backbone has from ``first`` on."""
        numbers = list(layers) if isinstance(layers, Iterable) else [layers]
        depth = self.backbone.num_layers
        wrong = [n for n in numbers if not isinstance(n, int) or not first <= n <= depth]
        if wrong or not numbers:
            raise UserError(
                f'layers={wrong[0] if wrong else "()"}: the backbone has {depth} layers; give '
                f'numbers from {first} to {depth}'
            )
        return numbers

    def _pooled(self, tokens: Tensor, pool: str | None, images: Tensor) -> Tensor:
        """Give the tokens [B, prefix+N, C] of a layer the form that is asked for."""
        prefix = self.backbone.num_prefix_tokens
        if pool == 'cls':
            return tokens[:, 0]
        if pool == 'mean':
            return tokens[:, prefix:].mean(1)
        places = to_map(self.backbone, tokens, images.shape[-2:])  # [B, rows, columns, C]
        if pool == 'map':
            return places.permute(0, 3, 1, 2)
        # Class token first, patches in raster order: [B, prefix+N, C]
        return torch.cat([tokens[:, :prefix], places.flatten(1, 2)], dim=1)

    def _collect(
        self,
        images: Any,
        batch_size: int,
        compute: Callable[[Tensor], dict[int, Tensor]],
        layers: Layers,
        numbers: list[int],
    ) -> Any:
        """Join what is computed of batches: a tensor of one layer, else a dict by layer."""
        parts: dict[int, list[Tensor]] = {}
        for batch in self._reader(images, batch_size):
            for layer, value in compute(batch).items():
                parts.setdefault(layer, []).append(value)
        found = {layer: torch.cat(values) for layer, values in parts.items()}
        if layers is None or isinstance(layers, int):
            return next(iter(found.values()))
        return {number: found[number] for number in numbers}

    def _infer(self, kind: Any, images: Any, batch_size: int, **options: Any) -> Any:
        """Let an inferencer, made once, look at images; one result for a single image."""
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size}: must be positive')
        if kind not in self._inferencers:
            prepare_scope(self.cfg)
            self._inferencers[kind] = kind(self.cfg, model=self.network, **options)
        found = self._inferencers[kind](each(images), batch_size)
        return found[0] if is_single(images) else found

    def _make_reader(self, image_size: tuple[int, int] | None) -> BatchReader:
        """Make the reader of a classifier's own test transforms, else of ImageNet's."""
        step = self.side_multiple
        if image_size is not None and (min(image_size) < step or any(s % step for s in image_size)):
            raise UserError(
                f'image_size={image_size[0]}x{image_size[1]}: the sides must be multiples of '
                f'{step} pixels for this backbone'
            )
        pipeline = tested_dataset(self.cfg).get('pipeline')
        if self.task != 'classification' or not pipeline:
            pipeline = evaluation_pipeline(self.image_size)
        elif image_size is not None:
            pipeline = resized_pipeline(pipeline, image_size)
        cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
        return BatchReader(cfg, self.mean, self.std, step, self.device)
