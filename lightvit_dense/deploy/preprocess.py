"""A test pipeline as tensor operations: uint8 images of any size to a network's input.

Resizing is a matrix product along each axis. The weights are computed from the image's size, which
is a tensor, so that every runtime has the same numbers for every size.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

Size = tuple[int, int]
FILTERS = ('bilinear', 'bilinear_pillow', 'bicubic_pillow')
"""OpenCV's, which takes two pixels whatever the scale, and Pillow's, which are anti-aliased."""
NEUTRAL = ('LoadImage', 'LoadImageFromFile', 'LoadAnnotations', 'LoadSegmentationMap')


def side_of(image: Tensor, axis: int) -> Tensor:
    """Return a side of an image as an int64 tensor without axes."""
    return torch.full((), image.shape[axis], dtype=torch.int64)


def divide(value: Tensor, by: Tensor) -> Tensor:
    """Divide integers that are not negative, rounding down."""
    return torch.div(value, by, rounding_mode='trunc')


def resize_weights(length: int, new: Tensor, places: Tensor, method: str = 'bilinear') -> Tensor:
    """Return the weights [out, length] of the pixels of one axis in those of a resized one.

    Args:
        length: Pixels of the axis; a free size of the graph.
        new: Pixels that it is resized to, int64 without axes.
        places: Resized pixels that are kept, int64 [out]; rows beyond ``new`` are zero.
        method: One of ``FILTERS``.
    """
    scale = torch.full((), length, dtype=torch.float32) / new
    centre = ((torch.minimum(places, new - 1) + 0.5) * scale)[:, None]  # [out, 1]
    pixels = torch.arange(length)[None] + 0.5  # [1, length]
    if method == 'bilinear':
        centre = torch.minimum(centre.clamp(min=0.5), pixels[:, -1:])
        weights = (1 - (pixels - centre).abs()).clamp(min=0)
        weights = (2048 * weights).round() / 2048  # OpenCV's are integers
    else:
        x = (pixels - centre).abs() / scale.clamp(min=1)
        if method == 'bilinear_pillow':
            weights = (1 - x).clamp(min=0)
        else:  # Keys' kernel of -0.5
            near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
            weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
        weights = weights / weights.sum(1, keepdim=True)
    return weights * (places < new)[:, None]


def resize(image: Tensor, rows: Tensor, columns: Tensor, method: str = 'bilinear') -> Tensor:
    """Resize images uint8 [B, H, W, 3] to grey levels float32 [B, 3, h, w].

    Args:
        image: The images.
        rows: Weights [h, H].
        columns: Weights [w, W].
        method: What the weights are, one of ``FILTERS``.
    """
    across = image.permute(0, 3, 1, 2).float() @ columns.mT
    if method != 'bilinear':  # Pillow stores rounded pixels between the axes
        return grey_levels(rows @ grey_levels(across))
    # OpenCV cuts off what is below 1/128 of a level here, and below 1/4 of each of the two rows.
    across = (128 * across).floor()
    halves = (torch.arange(first, image.shape[1], 2) for first in (0, 1))
    even, odd = ((rows[:, half] @ across[:, :, half] / 32).floor() for half in halves)
    return ((even + odd + 2) / 4).floor()


def grey_levels(pixels: Tensor) -> Tensor:
    """Round to 0..255, halves up."""
    return (pixels + 0.5).floor().clamp(0, 255)


class Preprocess(nn.Module):
    """What a test pipeline and a data preprocessor do to an RGB image.

    Args:
        pipeline: Transforms of the test data set, as configs; annotations do not count.
        preprocessor: The model's data preprocessor, of which mean, deviation and order of channels
            are taken.
        size: (height, width) of the result. Of a crop it is the crop's, unless given; a picture
            that is resized lies at its upper left, zeros elsewhere.

    Raises:
        UserError: If there is a transform that has no counterpart here.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, pipeline: Iterable[Mapping[str, Any]], preprocessor: Any, size: Size | None = None
    ) -> None:
        super().__init__()
        steps = {str(step['type']).rpartition('.')[2]: dict(step) for step in pipeline}
        moving = ('CenterResizedCrop', 'Resize')
        for name in steps:
            if name not in (*moving, *NEUTRAL) and not name.startswith('Pack'):
                raise UserError(
                    f'the test pipeline has {name}, which an exported file cannot do: '
                    'it resizes (Resize) or crops the centre (CenterResizedCrop)'
                )
        moves = [(name, step) for name, step in steps.items() if name in moving]
        if len(moves) != 1:
            raise UserError(
                'an exported file needs a test pipeline with one Resize or CenterResizedCrop, '
                f'this one has {len(moves)}'
            )
        self.kind, step = moves[0]
        self.method = _filter_of(self.kind, step)
        if self.kind == 'Resize':
            if not step.get('keep_ratio'):
                raise UserError('Resize can be exported with keep_ratio=True only')
            if size is None:
                raise UserError('Resize needs the size of what the network takes')
            self.scale, self.size = sorted(step['scale']), size
        else:
            crop = step['size'] if size is None else size
            self.size = (crop, crop) if isinstance(crop, int) else tuple(crop)
            ratio = step.get('ratio', 224 / 256)
            self.resized = tuple(int(side / ratio) for side in self.size)
        loads_bgr = next((s.get('color', 'bgr') for n, s in steps.items() if n in NEUTRAL), 'rgb')
        swaps = getattr(preprocessor, '_channel_conversion', None)
        swaps = getattr(preprocessor, 'bgr_to_rgb', False) if swaps is None else swaps
        self.bgr = (loads_bgr == 'bgr') != bool(swaps)
        if getattr(preprocessor, 'mean', None) is None:
            raise UserError(f'{type(preprocessor).__name__} has no mean and std')
        self.register_buffer('mean', preprocessor.mean.detach().clone().float().reshape(3, 1, 1))
        self.register_buffer('std', preprocessor.std.detach().clone().float().reshape(3, 1, 1))

    def resized_size(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sides that an image is resized to, before any crop; all int64 tensors."""
        if self.kind == 'Resize':  # mmcv's: the largest that fits into the scale
            short, long = torch.minimum(height, width), torch.maximum(height, width)
            by_short = self.scale[0] * long <= self.scale[1] * short
            times = torch.where(by_short, self.scale[0], self.scale[1])
            by = torch.where(by_short, short, long)
            return divide(2 * height * times + by, 2 * by), divide(2 * width * times + by, 2 * by)
        rows, columns = self.resized
        if rows == columns:
            short = torch.minimum(height, width)
            return divide(rows * height, short), divide(rows * width, short)
        tall = height * columns <= width * rows  # the height decides
        times, by = torch.where(tall, rows, columns), torch.where(tall, height, width)
        return divide(2 * height * times + by, 2 * by), divide(2 * width * times + by, 2 * by)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prepare images uint8 [B, H, W, 3].

        Returns:
            Normalised images float32 [B, 3, h, w], and the height and width in pixels that the
            images have there, int64 without axes.
        """
        sides = side_of(image, 1), side_of(image, 2)
        weights, inside = [], []
        for axis, (new, out) in enumerate(zip(self.resized_size(*sides), self.size, strict=True)):
            start: Tensor | int = 0
            if self.kind != 'Resize':  # half of what is too much, halves to even
                half, odd = divide(new - out, new.new_full((), 2)), (new - out) % 2
                start = half + odd * (half % 2)
            places = torch.arange(out) + start
            weights.append(resize_weights(image.shape[1 + axis], new, places, self.method))
            inside.append(new)
        pixels = resize(image.flip(-1) if self.bgr else image, weights[0], weights[1], self.method)
        pixels = (pixels - self.mean) / self.std
        if self.kind == 'Resize':
            (tall, wide), (height, width) = inside, self.size
            rows, columns = torch.arange(height) < tall, torch.arange(width) < wide
            pixels = pixels * (rows[:, None] & columns)
        return pixels, inside[0], inside[1]


def _filter_of(kind: str, step: Mapping[str, Any]) -> str:
    """Return the filter, one of ``FILTERS``, of a transform."""
    crop = kind == 'CenterResizedCrop'
    backend = step.get('backend', 'pillow' if crop else 'cv2')
    method = step.get('interpolation', 'bicubic' if crop else 'bilinear')
    name = method if backend == 'cv2' else f'{method}_pillow'
    if name not in FILTERS:
        raise UserError(f'{kind}: interpolation={method!r} of {backend} cannot be exported')
    return name
