"""The parts of a model that can be exported: tensors in, tensors out, no samples, no lists."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_dense.models.pad_shape import pad_shape_of

from ..errors import UserError
from .pooling import with_fixed_pools

Size = tuple[int, int]
PARTS = ('backbone+neck', 'whole')
NO_DETECTOR = (
    'a detector is exported as its backbone and neck: what follows (proposals, non-maximum '
    'suppression, boxes that choose regions) has sizes that depend on the picture'
)


class Normalisation(nn.Module):
    """What a model's data preprocessor does to RGB pixels; ``bgr`` if the model takes BGR."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessor: Any, bgr: bool = False) -> None:
        super().__init__()
        self.bgr = bgr
        self.register_buffer('mean', preprocessor.mean.detach().clone().reshape(1, 3, 1, 1))
        self.register_buffer('std', preprocessor.std.detach().clone().reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Normalise RGB pixels in 0..255, [B, 3, H, W]."""
        if self.bgr:
            image = torch.cat([image[:, 2:], image[:, 1:2], image[:, :1]], dim=1)
        return (image - self.mean) / self.std


class BackboneNeck(nn.Module):
    """Normalised or RGB images of a size to feature maps, as the heads of a model see them."""

    def __init__(self, model: Any, size: Size, normalisation: nn.Module | None) -> None:
        super().__init__()
        pad_shape = _pad_shape(model, size) or tuple(size)
        if pad_shape != tuple(size):
            height, width = pad_shape
            raise UserError(
                f'images of {size[0]}x{size[1]} px are padded to {height}x{width} px by '
                f'{type(model).__name__}: export for --shape {height} {width}'
            )
        self.backbone = model.backbone
        self.neck = model.neck if getattr(model, 'neck', None) is not None else nn.Identity()
        self.normalisation = normalisation or nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute maps [B, C, h, w] of images [B, 3, H, W]."""
        return tuple(self.neck(self.backbone(self.normalisation(image))))


class WholeSegmentor(nn.Module):
    """Image to class scores, or to the class of each pixel, at the size of the image.

    In the mode 'slide' of ``test_cfg`` the windows become part of the graph. The output is int64
    [B, H, W] with ``labels``, else scores [B, classes, H, W].
    """

    def __init__(
        self, model: Any, size: Size, normalisation: nn.Module | None, labels: bool = True
    ) -> None:
        super().__init__()
        self.model: Any = with_fixed_pools(model)
        self.size = size
        self.pad_shape = _pad_shape(model, size) or size
        self.normalisation = normalisation or nn.Identity()
        self.labels = labels

    def forward(self, image: Tensor) -> Tensor:
        """Segment images [B, 3, H, W]."""
        (height, width), pad_shape = self.size, self.pad_shape
        padded = self.normalisation(image)
        if pad_shape != self.size:
            padded = F.pad(padded, (0, pad_shape[1] - width, 0, pad_shape[0] - height))
        slides = getattr(self.model, 'window', None) is not None
        scores = (self._slide if slides else self._score)(padded)[:, :, :height, :width]
        if not self.labels:
            return scores
        if scores.shape[1] == 1:
            return (scores[:, 0].sigmoid() > self.model.decode_head.threshold).long()
        return scores.argmax(1)

    def _score(self, image: Tensor) -> Tensor:
        """Return scores [B, classes, H, W] of images or windows [B, 3, H, W]."""
        size = tuple(int(side) for side in image.shape[2:])
        meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
        return self.model.encode_decode(image, [meta])

    def _slide(self, image: Tensor) -> Tensor:
        """Average the scores of windows, by sums: writing into slices is costly in ONNX."""
        from ..models.segmentors.encoder_decoder import windows_along

        height, width = self.pad_shape
        (tall, wide), (down, right) = self.model.window, self.model.stride
        # Counted in numpy: a trace would record each step in torch.
        count = np.zeros((1, 1, height, width), np.float32)
        total: Any = 0.0
        for rows in windows_along(height, tall, down):
            for columns in windows_along(width, wide, right):
                count[:, :, rows, columns] += 1
                outside = (columns.start, width - columns.stop, rows.start, height - rows.stop)
                total = total + F.pad(self._score(image[:, :, rows, columns]), outside)
        return total / torch.from_numpy(count).to(image)


def make_part(
    model: Any,
    task: str,
    part: str,
    size: Size,
    normalisation: nn.Module | None = None,
    labels: bool = True,
) -> tuple[nn.Module, list[str]]:
    """Cut the part of a model that is to be exported; returns it and the names of its outputs.

    ``size`` is (height, width); ``labels`` asks a segmentor for classes of pixels, not scores.
    """
    if part not in PARTS:
        raise UserError(f'part {part!r} is unknown; choose from {", ".join(PARTS)}')
    if part == 'whole':
        if task == 'detection':
            raise UserError(f'{NO_DETECTOR}. Ask for the part backbone+neck.')
        if task == 'classification':
            return nn.Sequential(normalisation or nn.Identity(), model).eval(), ['scores']
        whole = WholeSegmentor(model, size, normalisation, labels)
        return whole.eval(), ['labels' if labels else 'scores']
    if task == 'classification':
        raise UserError('a classifier has no neck; ask for the part whole')
    return BackboneNeck(model, size, normalisation).eval(), ['map']


def make_normalisation(model: Any, pipeline: Any) -> Normalisation:
    """Make the module that normalises RGB pixels as testing does."""
    preprocessor = model.data_preprocessor
    if getattr(preprocessor, 'mean', None) is None or getattr(preprocessor, 'std', None) is None:
        raise UserError(
            f'{type(preprocessor).__name__} has no mean and std: export without normalisation'
        )
    loader: Mapping[str, Any] = pipeline[0] if pipeline else {}
    loads_bgr = loader.get('color', 'bgr') == 'bgr'
    swaps = getattr(preprocessor, '_channel_conversion', None)
    swaps = getattr(preprocessor, 'bgr_to_rgb', False) if swaps is None else swaps
    return Normalisation(preprocessor, bgr=loads_bgr != bool(swaps))


def _pad_shape(model: Any, size: Size) -> Size | None:
    """Return the pad_shape of an image of this size; None for models without."""
    if not hasattr(model, 'pad_shape'):
        return None
    # Sliding windows lie on the image itself.
    slides = getattr(model, 'window', None) is not None
    return pad_shape_of(size, model.pad_shape, 1 if slides else model.size_divisor)
