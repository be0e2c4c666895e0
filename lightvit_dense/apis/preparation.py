"""A config's own test pipeline, without its reading of files."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from lightvit_dense.apis.configs import name_of, tested_dataset
from lightvit_dense.apis.inference import InferenceError, Picture
from lightvit_dense.apis.tta import kind_of, tta_parts
from lightvit_dense.errors import UserError, user_errors

_LOADERS = ('LoadImage', 'LoadImageFromFile', 'LoadImageFromNDArray')


class PictureError(InferenceError):
    """A picture that the transforms cannot take, with the reason alone in ``reason``."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f'{name}: {reason}')
        self.reason = reason


class Preparation:
    """Make a model's input of a picture, by the transforms that testing uses, loading left out.

    ``tta`` has scales and flip of :func:`lightvit_dense.apis.tta.apply_tta`, and ``tta_model`` is
    the wrapper of the model for it; ``exif`` tells whether the loader turns pictures upright.
    """

    def __init__(
        self, cfg: Config, tta: tuple[Sequence[float] | None, bool | None] | None = None
    ) -> None:
        pipeline = tested_dataset(cfg).get('pipeline')
        if not pipeline:
            raise UserError(
                f'{name_of(cfg)} has no test_dataloader.dataset.pipeline: nothing says how to '
                'prepare an image'
            )
        loader = pipeline[0]
        if kind_of(loader) not in _LOADERS:
            raise UserError(
                f'{name_of(cfg)}: the test pipeline begins with {kind_of(loader)}; inference needs '
                f'one that begins with {" or ".join(_LOADERS)}'
            )
        self.tta_model = None
        if tta is not None:
            self.tta_model, pipeline = tta_parts(cfg, pipeline, *tta)
        self._bgr = loader.get('color', 'bgr') == 'bgr'
        self._float = bool(loader.get('to_float32', False))
        self.exif = bool(loader.get('exif', True))
        with user_errors():
            self._transforms = Compose(without_loading(pipeline))

    def __call__(self, picture: Picture, number: int) -> dict[str, Any]:
        """Return ``dict(inputs=Tensor [3, h, w], data_samples=...)``, of lists with TTA."""
        pixels = picture.pixels[:, :, ::-1] if self._bgr else picture.pixels
        size = pixels.shape[:2]
        given = dict(
            # Transforms may write into it.
            img=np.array(pixels, dtype=np.float32 if self._float else None, order='C'),
            img_path=picture.path or picture.name,
            img_id=number,
            img_shape=size,
            ori_shape=size,
            seg_fields=[],
        )
        try:
            packed = self._transforms(given)
        except Exception as error:  # whatever it is, it is about this picture
            raise PictureError(
                picture.path or picture.name,
                f'the test pipeline fails on {size[1]}x{size[0]} pixels '
                f'({type(error).__name__}: {error}): crop the picture, or leave it out',
            ) from error
        if packed is None:
            raise PictureError(picture.name, 'a transform of the test pipeline dropped the picture')
        return packed


def without_loading(pipeline: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return a copy of a pipeline without transforms that load, also inside ``TestTimeAug``."""
    kept = []
    step: Any
    for step in copy.deepcopy(list(pipeline)):
        if kind_of(step).startswith('Load'):
            continue
        if kind_of(step) == 'TestTimeAug':
            lists = [without_loading(choices) for choices in step['transforms']]
            step['transforms'] = [choices for choices in lists if choices]
        kept.append(step)
    return kept
