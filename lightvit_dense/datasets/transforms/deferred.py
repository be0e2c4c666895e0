"""A pipeline of which the workers do the reading and the drawing alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import RandomFlip

from lightvit_dense.registry import TRANSFORMS

from .augment import METHODS, RandomFlipFlag, RandomResizedCrop
from .base import Transform
from .color import RandAugment
from .fast_crop import LoadRandomResizedCrop
from .loading import LoadImage
from .packing import MultiView, PackImage


class _Flip(RandomFlipFlag):
    """The draw of mmcv's RandomFlip, which is that of ``np.random.choice``."""

    def __init__(self, flip: RandomFlip) -> None:
        if not isinstance(flip.prob, float) or flip.direction != 'horizontal':
            raise ValueError(f'{_name(flip)}: the device flips horizontally alone; got {flip}')
        sums = np.cumsum([flip.prob, 1.0 - flip.prob])
        super().__init__(float(sums[0] / sums[1]))


@TRANSFORMS.register_module()
class DeferredPipeline(Transform):
    """Load an image and draw what its transforms would do, for the device to do it.

    The draws are those of the pipeline itself, one by one, so that a sample's are the same of one
    (seed, epoch, sample). :func:`collate_deferred` makes the batch, and the data preprocessor
    carries the operations out. ``engine.input='device'`` puts a config's pipeline in here.

    A transform takes part by ``draw() -> tuple[float, ...] | None`` and the name ``op`` of its
    operation; or by a ``draw`` that returns a list of (name, parameters), always equally long. None
    says that the image stays as it is.

    Args:
        transforms: A pipeline: :class:`LoadRandomResizedCrop`, or :class:`LoadImage` followed by
            :class:`RandomResizedCrop` or :class:`MultiView`; transforms that can draw; and
            :class:`PackImage` or :class:`PackViews`.
        encoded: Whether to leave JPEG files of a usual kind, that EXIF does not turn, to nvJPEG.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]], encoded: bool = False) -> None:
        self.encoded = encoded
        self.transforms = [dict(transform) for transform in transforms]
        steps = [TRANSFORMS.build(transform) for transform in self.transforms]
        loader, others, self._pack = steps[0], steps[1:-1], steps[-1]
        self._loader, self._fused = loader, isinstance(loader, LoadRandomResizedCrop)
        pipelines = [(1, [loader.crop, *others] if self._fused else others)]
        if others and isinstance(others[0], MultiView):
            if others[1:]:
                raise ValueError(f'{_name(others[1])}: put it into the views of MultiView')
            made = zip(others[0].counts, others[0].pipelines, strict=True)
            pipelines = [(count, some.transforms) for count, some in made]
        self._groups = [(count, *_crop_and_steps(some)) for count, some in pipelines]
        self._sizes = [(count, crop.size) for count, crop, _ in self._groups]
        self.exif = getattr(loader, 'exif', False)  # what packed images are compared with
        # timm draws from python's generator besides.
        drawing = [step for _, _, steps in self._groups for step in steps]
        self.numpy_alone = not any(isinstance(step, RandAugment) for step in drawing)
        if not (self._fused or (isinstance(loader, LoadImage) and loader.color == 'rgb')):
            raise ValueError(f"{loader} is no lightvit_dense.LoadImage of color='rgb'")
        if not isinstance(self._pack, PackImage):
            raise ValueError(f'{_name(self._pack)} is no lightvit_dense.PackImage or PackViews')

    def transform(self, results: dict) -> dict | None:
        """Return pixels, uint8 [H, W, 3], or a file, uint8 [n]; steps of each view; the fields.

        The first step is ``('crop', (top, left, height, width, number of the method))``.
        """
        if self._fused and not self.encoded:
            found = self._loader.window(results)
            if found is None:
                return None
            pixels, method = found
            shape = pixels.shape[:2]
            views = [self._view((0, 0, *shape), method, self._groups[0][2])]
        else:
            pixels = self._loader.whole(results, self.encoded)
            if pixels is None:
                return None
            views, shape = [], results['ori_shape']
            for count, crop, steps in self._groups:
                for _ in range(count):
                    left, top, right, bottom = crop.draw(*shape)
                    box = top, left, bottom - top, right - left
                    views.append(self._view(box, crop.draw_method(), steps))
        return {
            'inputs': pixels,
            'shape': shape,
            'path': results['img_path'],
            'views': views,
            'sizes': self._sizes,
            'data_samples': self._pack.fields(results),
        }

    def _view(self, box: tuple[int, ...], method: str, steps: Sequence[Any]) -> list[Any]:
        """Draw the steps of a view after its crop, in the order of the pipeline."""
        view: list[Any] = [('crop', (*box, METHODS.index(method)))]
        for step in steps:
            found = step.draw()
            if type(found) is list:
                view += found
            else:
                view.append((step.op, found))
        return view


def _crop_and_steps(transforms: Sequence[Any]) -> tuple[RandomResizedCrop, list[Any]]:
    """Check the transforms of a view; return its crop, and what follows it."""
    steps = [_Flip(step) if type(step) is RandomFlip else step for step in transforms]
    for step in steps:
        if not hasattr(step, 'draw'):
            raise ValueError(f'{_name(step)} has no `draw`, and cannot be left to the device')
    if [n for n, step in enumerate(steps) if isinstance(step, RandomResizedCrop)] != [0]:
        raise ValueError('a view needs one lightvit_dense.RandomResizedCrop, at its beginning')
    if steps[0].backend == 'cv2':
        raise ValueError("backend='cv2' filters nothing, and the device does: set backend='torch'")
    return steps[0], steps[1:]


def _name(transform: Any) -> str:
    package = type(transform).__module__.partition('.')[0]
    return f'{package}.{type(transform).__name__}'
