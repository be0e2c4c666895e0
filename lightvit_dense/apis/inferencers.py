"""Run a trained model over files, folders, arrays and videos."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from torch import nn

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.classes import class_names, class_palette
from lightvit_dense.apis.configs import load_config, name_of
from lightvit_dense.apis.inference import (
    Classification,
    Detections,
    Failure,
    InferenceError,
    Picture,
    Result,
    ResultWriter,
    Segmentation,
    Sources,
)
from lightvit_dense.apis.preparation import PictureError, Preparation
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS, loaded_class

OnError = Callable[[Failure], None]


class Inferencer:
    """Base class of the inferencers of all tasks.

    Args:
        config: Config or its path. Its test pipeline prepares the pictures.
        checkpoint: Checkpoint to load; None leaves the weights as the config initialises them.
        device: Where the model runs; CUDA when there is one, else the CPU.
        names: Names of the classes; by default the checkpoint's, else those of the config's data.
        tta: Whether to test with augmentation: False, True for the config's own or the default
            scales and flips, or (scales, flip).
        model: The model, if it is built already; ``checkpoint`` and ``device`` do not count then.
    """

    task: ClassVar[str] = ''

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        names: Sequence[str] | None = None,
        tta: bool | tuple[Sequence[float] | None, bool | None] = False,
        model: nn.Module | None = None,
    ) -> None:
        self.cfg = load_config(config)
        if model is None:
            model = build_model(self.cfg, checkpoint, device)
        found = task_of(model)
        if found != self.task:
            raise UserError(f'{name_of(self.cfg)} has a model for {found}, not for {self.task}')
        self.model = model
        self.names = class_names(model, self.cfg, names)
        self.palette = class_palette(model, self.cfg, len(self.names))
        self._prepare = Preparation(self.cfg, ((None, None) if tta is True else tta) or None)
        kind = (self.cfg.test_dataloader.get('collate_fn') or dict(type='pseudo_collate'))['type']
        self._collate: Any = FUNCTIONS.get(kind) if isinstance(kind, str) else kind
        self._step: Any = model.test_step
        if self._prepare.tta_model is not None:
            wrapped = MODELS.build(dict(self._prepare.tta_model, module=model)).eval()
            self._step = wrapped.test_step

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Look at all inputs; takes what :meth:`stream` takes, which does not keep the results."""
        return list(self.stream(inputs, *args, **kwargs))

    def stream(
        self,
        inputs: Any,
        batch_size: int = 1,
        out_dir: str | Path | None = None,
        recursive: bool = False,
        on_error: OnError | None = None,
        **saving: bool,
    ) -> Iterator[Any]:
        """Look at inputs batch by batch, in memory that does not grow with their number.

        Args:
            inputs: Path of an image, a folder or a video, an array uint8 [H, W, 3] in RGB order or
                [H, W], or an iterable of these.
            batch_size: Pictures to look at together.
            out_dir: Folder that receives what was found, see :class:`ResultWriter`; None for none.
            recursive: Whether folders are searched below their first level.
            on_error: Called for an input that cannot be used; without it the first is an error.
            **saving: ``pictures`` and ``palette`` of :class:`ResultWriter`.

        Yields:
            One result a picture, in the order of the inputs.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}')
        if out_dir is None:
            if saving:
                raise ValueError(f'{", ".join(saving)}: nothing is saved without out_dir')
            for _, result in self._results(inputs, batch_size, recursive, on_error):
                yield result
            return
        with ResultWriter(out_dir, self.names, self.palette, **saving) as writer:
            for picture, result in self._results(inputs, batch_size, recursive, on_error):
                writer.write(picture, result)
                yield result

    def _results(
        self, inputs: Any, batch_size: int, recursive: bool, on_error: OnError | None
    ) -> Iterator[tuple[Picture, Result]]:
        usable = self._usable(Sources(inputs, recursive, self._prepare.exif), on_error)
        while batch := list(islice(usable, batch_size)):
            yield from self._look(batch, on_error)

    def _look(
        self, batch: list[tuple[Picture, dict[str, Any]]], on_error: OnError | None
    ) -> Iterator[tuple[Picture, Result]]:
        """Look at pictures together; one by one where that fails, to find the one that does."""
        prepared = [ready for _, ready in batch]
        samples: dict[int, Any] = {}
        try:
            for group in self._groups(prepared):
                with torch.no_grad():
                    found = self._step(self._collate([prepared[i] for i in group]))
                samples.update(zip(group, found, strict=True))
            results = [self._read(samples[i], picture) for i, (picture, _) in enumerate(batch)]
        except Exception as error:  # whatever it is, the other pictures are not lost
            if on_error is None:
                raise
            if len(batch) > 1:
                for one in batch:
                    yield from self._look([one], on_error)
            else:
                picture = batch[0][0]
                reason = f'the model fails ({type(error).__name__}: {error})'
                on_error(Failure(picture.path or picture.name, reason))
            return
        yield from zip((picture for picture, _ in batch), results, strict=True)

    def _groups(self, prepared: list[dict[str, Any]]) -> list[list[int]]:
        """Return the places of the pictures of a batch that the model takes together."""
        return [list(range(len(prepared)))]

    def _usable(
        self, sources: Sources, on_error: OnError | None
    ) -> Iterator[tuple[Picture, dict[str, Any]]]:
        number = 0
        for item in sources:
            failure: Any = item
            if isinstance(item, Picture):
                try:
                    ready = self._prepare(item, number)
                except PictureError as error:
                    if on_error is None:
                        raise
                    failure = Failure(item.path or item.name, error.reason)
                else:
                    number += 1
                    yield item, ready
                    continue
            if on_error is None:
                raise InferenceError(str(failure))
            on_error(failure)

    def _read(self, sample: Any, picture: Picture) -> Result:
        """Make plain data of what the model found in a picture."""
        raise NotImplementedError

    @staticmethod
    def _about(picture: Picture) -> dict[str, Any]:
        height, width = picture.pixels.shape[:2]
        return dict(
            name=picture.name, height=height, width=width, path=picture.path, frame=picture.frame
        )


class DetectionInferencer(Inferencer):
    """Find objects: boxes and, if the model has them, masks.

    Args:
        *args: See :class:`Inferencer`.
        score_thr: Objects with lower scores are left out, beyond the model's own ``test_cfg``.
        max_per_image: How many objects are kept at most, the best ones.
        **kwargs: See :class:`Inferencer`.
    """

    task = 'detection'

    def __init__(
        self, *args: Any, score_thr: float = 0.3, max_per_image: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= score_thr <= 1:
            raise UserError(f'score_thr must lie in 0..1, got {score_thr}')
        if max_per_image is not None and max_per_image < 1:
            raise UserError(f'max_per_image must be positive, got {max_per_image}')
        self.score_thr, self.max_per_image = score_thr, max_per_image

    def _read(self, sample: Any, picture: Picture) -> Detections:
        found = sample.pred_instances
        scores = found.scores.float().cpu()
        order = scores.argsort(descending=True, stable=True)
        kept = order[scores[order] >= self.score_thr][: self.max_per_image]
        labels = found.labels.cpu()[kept].numpy()
        masks = found.masks.cpu()[kept].numpy() if 'masks' in found else None
        return Detections(
            **self._about(picture),
            boxes=found.bboxes.float().cpu()[kept].numpy(),
            scores=scores[kept].numpy(),
            labels=labels,
            names=tuple(self.names[label] for label in labels),
            masks=masks,
        )


class SegmentationInferencer(Inferencer):
    """Give each pixel a class; the arguments are those of :class:`Inferencer`."""

    task = 'segmentation'

    def _groups(self, prepared: list[dict[str, Any]]) -> list[list[int]]:
        # mmseg's own preprocessor takes pictures of one size.
        if type(self.model.data_preprocessor).__name__ != 'SegDataPreProcessor':
            return super()._groups(prepared)
        groups: dict[Any, list[int]] = {}
        for number, sample in enumerate(prepared):
            views = sample['inputs'] if isinstance(sample['inputs'], list) else [sample['inputs']]
            groups.setdefault(tuple(view.shape for view in views), []).append(number)
        return list(groups.values())

    def _read(self, sample: Any, picture: Picture) -> Segmentation:
        label_map = sample.pred_sem_seg.data[0].cpu().numpy()
        dtype = np.uint8 if len(self.names) <= 256 else np.uint16
        return Segmentation(
            **self._about(picture), label_map=label_map.astype(dtype), names=self.names
        )


class ClassificationInferencer(Inferencer):
    """Give a picture a class; the arguments are those of :class:`Inferencer`."""

    task = 'classification'

    def _read(self, sample: Any, picture: Picture) -> Classification:
        scores = sample.pred_score.float().cpu().numpy()
        return Classification(**self._about(picture), scores=scores, names=self.names)


_BASES = dict(BaseDetector='detection', BaseSegmentor='segmentation')
"""mmdet's and mmseg's classes, which have no attribute ``task``."""


def task_of_class(kind: Any) -> str | None:
    """Return what models of a class are for by its ``task`` or base; None for pre-trainers."""
    kind = loaded_class(kind)
    bases = {cls.__name__ for cls in getattr(kind, '__mro__', ())}
    known = next((task for name, task in _BASES.items() if name in bases), None)
    return getattr(kind, 'task', known)


def task_of(model: nn.Module) -> str:
    """Return 'detection', 'segmentation' or 'classification', or raise."""
    task: Any = getattr(model, 'task', None) or task_of_class(type(model))
    if task in ('detection', 'segmentation', 'classification'):
        return task
    raise UserError(
        f'{type(model).__name__} is no detector, segmentor or classifier: there is nothing that it '
        'could find in a picture'
    )


def make_inferencer(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    model: nn.Module | None = None,
    **options: Any,
) -> Inferencer:
    """Build the inferencer that fits the model of a config; see :class:`Inferencer`."""
    cfg = load_config(config)
    model = build_model(cfg, checkpoint, device) if model is None else model
    kinds = (DetectionInferencer, SegmentationInferencer, ClassificationInferencer)
    fitting = {kind.task: kind for kind in kinds}[task_of(model)]
    foreign = {'score_thr', 'max_per_image'} & set(options)
    if foreign and fitting is not DetectionInferencer:
        raise UserError(
            f'{" and ".join(sorted(foreign))}: for detection only; this is a model for '
            f'{fitting.task}'
        )
    return fitting(cfg, model=model, **options)
