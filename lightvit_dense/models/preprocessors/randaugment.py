"""RandAugment's other operations on uint8 batches, see :mod:`.color`, with Pillow's arithmetic.

Pillow's ``transform`` filters by a cubic of parameter -1, which no function of torch has, in double
precision, and cuts off what others round.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .color import column


def auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch every channel to 0..255."""
    low, high = images.amin((2, 3)).double(), images.amax((2, 3)).double()
    full = torch.full_like(high, 255)  # 255 / x would be 255 * (1 / x)
    scale = torch.where(high > low, full / (high - low).clamp(min=1), 1)[..., None]
    offset = torch.where(high > low, -low, 0)[..., None] * scale
    ramp = torch.arange(256, device=images.device, dtype=torch.float64)
    table = (ramp * scale + offset).clamp_(0, 255).to(torch.uint8)  # [N, 3, 256]
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Flatten every channel's histogram; torchvision's is Pillow's."""
    from torchvision.transforms.v2 import functional  # takes seconds to import

    return functional.equalize_image(images)


def posterize(images: Tensor, mask: Tensor) -> Tensor:
    """Keep the bits of a mask."""
    return images & column(mask).to(torch.uint8)


def solarize_add(images: Tensor, added: Tensor) -> Tensor:
    """Brighten what is darker than 128."""
    brighter = (images + column(added).float()).clamp_(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _interpolate(tap: Callable[[int], Tensor], at: Tensor, cubic: bool) -> Tensor:
    """Interpolate between neighbours, of which 0 lies before the place and 1 behind it."""
    if not cubic:
        return tap(0) + (tap(1) - tap(0)) * at
    a, b, c, d = (tap(number) for number in (-1, 0, 1, 2))
    return b + at * (c - a + at * (2 * (a - b) + c - d + at * (b - a + d - c)))


def affine(images: Tensor, matrix: Sequence[Any], fill: Tensor, cubic: bool, moves: str) -> Tensor:
    """Take each pixel from x' = a x + b y + c, y' = d x + e y + f, like Pillow's ``transform``.

    The matrix has numbers or float64 [N, 1, 1]; ``moves`` says whether x' or y' alone is another.
    """
    height, width = images.shape[2:]
    a, b, c, d, e, f = matrix
    x = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    y = torch.arange(height, device=images.device, dtype=torch.float64)[:, None] + 0.5
    x, y = a * x + b * y + c, d * x + e * y + f  # [N, H, W] where something varies
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    x, y = (x - left)[:, None], (y - top)[:, None]
    left, top, pixels = left.long(), top.long(), images.flatten(2)

    def tap(right: int, down: int) -> Tensor:
        row, column = (top + down).clamp(0, height - 1), (left + right).clamp(0, width - 1)
        places = (row * width + column).flatten(1)[:, None].expand(-1, 3, -1)
        return pixels.gather(2, places).view(images.shape).double()

    def across(down: int) -> Tensor:
        if 'x' not in moves:
            return tap(0, down)
        return _interpolate(lambda right: tap(right, down), x, cubic)

    values = _interpolate(across, y, cubic) if 'y' in moves else across(0)
    outside = fill.to(torch.uint8)[..., None, None]
    return torch.where(inside[:, None], values.clamp_(0, 255).to(torch.uint8), outside)


def shift(images: Tensor, parameters: Tensor, place: int, cubic: bool) -> Tensor:
    """Shear or translate by a share: a factor at a place of the matrix; then the fill, and more."""
    side = {2: images.shape[3], 5: images.shape[2]}.get(place, 1)
    matrix: list[Any] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    matrix[place] = parameters[:, :1, None].double() * side
    return affine(images, matrix, parameters[:, 1:4], cubic, 'x' if place < 3 else 'y')


def rotate(images: Tensor, parameters: Tensor, cubic: bool) -> Tensor:
    """Rotate about the centre: cosine, fill and sine, and more."""
    x, y = images.shape[3] / 2, images.shape[2] / 2
    cos, sin = parameters[:, :5:4, None, None].double().unbind(1)
    matrix = cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y
    return affine(images, matrix, parameters[:, 1:4], cubic, 'xy')
