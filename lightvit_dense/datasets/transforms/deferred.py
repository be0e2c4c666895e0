"""A pipeline of which the workers do the reading and the drawing alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightvit_dense.datasets.draws import Draws
from lightvit_dense.registry import TRANSFORMS

from .augment import RandomResizedCrop
from .base import Transform
from .fast_crop import LoadRandomResizedCrop
from .loading import LoadImage
from .packing import MultiView, PackImage


@TRANSFORMS.register_module()
class DeferredPipeline(Transform):
    """Load an image and draw what its transforms would do, for the device to do it.

    :func:`collate_deferred` lets :meth:`draw` make the parameters of a whole batch, which are those
    of the pipeline itself, and the data preprocessor carries the operations out.
    ``engine.input='device'`` puts a config's pipeline in here.

    A transform takes part by ``slots``, ``ops`` and ``draw`` of :class:`RandomChange`.

    Args:
        transforms: A pipeline: :class:`LoadRandomResizedCrop`, or :class:`LoadImage` followed by
            :class:`RandomResizedCrop` or :class:`MultiView`; transforms that can draw; and
            :class:`PackImage` or :class:`PackViews`.
        encoded: Whether to leave JPEG files of a usual kind, that EXIF does not turn, to nvJPEG.
    """

    seedless = True  # uses no generator, and seeding them would take longer than all the rest

    def __init__(self, transforms: Sequence[Mapping[str, Any]], encoded: bool = False) -> None:
        self.encoded = encoded
        self.transforms = [dict(transform) for transform in transforms]
        steps = [TRANSFORMS.build(transform) for transform in self.transforms]
        loader, others, self._pack = steps[0], steps[1:-1], steps[-1]
        self.several = bool(others) and isinstance(others[0], MultiView)
        self._loader, fused = loader, isinstance(loader, LoadRandomResizedCrop)
        self.cuts = fused and not encoded  # whether images are cut before they are handed over
        pipelines = [(1, [loader.crop, *others] if fused else others)]
        if self.several:
            if others[1:]:
                raise ValueError(f'{_name(others[1])}: put it into the views of MultiView')
            made = zip(others[0].counts, others[0].pipelines, strict=True)
            pipelines = [(count, some.transforms) for count, some in made]
        self._groups = [(count, *_crop_and_steps(some)) for count, some in pipelines]
        self.exif = getattr(loader, 'exif', False)  # what packed images are compared with
        if not (fused or (isinstance(loader, LoadImage) and loader.color == 'rgb')):
            raise ValueError(f"{loader} is no lightvit_dense.LoadImage of color='rgb'")
        if not isinstance(self._pack, PackImage):
            raise ValueError(f'{_name(self._pack)} is no lightvit_dense.PackImage or PackViews')

    def transform(self, results: dict) -> dict | None:
        """Return pixels [H, W, 3], those of the crop if no more are decoded, or a file [n]."""

        def make(data: Any) -> np.ndarray:
            if isinstance(data, np.ndarray) or not self.cuts:
                return self._loader._whole(data, results, self.encoded)
            return self._loader.window(data, results)[0]

        pixels = self._loader.read(results, make)
        if pixels is None:
            return None
        return {
            'inputs': pixels,
            'shape': results['ori_shape'],
            'seed': Draws.of(results).seed,
            'path': results['img_path'],
            'data_samples': self._pack.fields(results),
            'pipeline': self,
        }

    def draw(self, seeds: Sequence[int], shapes: np.ndarray) -> list[tuple[Any, ...]]:
        """Draw for B images (height, width) [B, 2], all their first views before the second ones.

        Returns of each kind of view count, size, crops [count * B, 5], and what the steps draw.
        """
        draws, views = Draws(seeds), []
        for count, crop, steps in self._groups:
            ends = np.cumsum([crop.slots, *(step.slots for step in steps)])
            numbers = draws.take(count * ends[-1]).reshape(len(seeds), count, -1)
            # [B, count, slots] -> [count * B, slots]
            numbers = numbers.swapaxes(0, 1).reshape(-1, ends[-1])
            first, *others = np.split(numbers, ends[:-1], 1)
            crops = crop.draw(first, np.tile(shapes, (count, 1)))
            drawn = [(s.ops, *s.draw(some)) for s, some in zip(steps, others, strict=True)]
            views.append((count, crop.size, crops, drawn))
        return views


def _crop_and_steps(transforms: Sequence[Any]) -> tuple[RandomResizedCrop, list[Any]]:
    """Check the transforms of a view; return its crop, and what follows it."""
    for step in transforms:
        if not hasattr(step, 'slots'):
            text = f'{_name(step)} has no `draw` and `slots` as lightvit_dense.RandomFlip has, and'
            raise ValueError(f'{text} cannot be left to the device')
    if [n for n, step in enumerate(transforms) if isinstance(step, RandomResizedCrop)] != [0]:
        raise ValueError('a view needs one lightvit_dense.RandomResizedCrop, at its beginning')
    crop, *steps = transforms
    if crop.backend == 'cv2':
        raise ValueError("backend='cv2' filters nothing, and the device does: set backend='torch'")
    return crop, steps


def _name(transform: Any) -> str:
    package = type(transform).__module__.partition('.')[0]
    return f'{package}.{type(transform).__name__}'
