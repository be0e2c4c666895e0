"""Photometric operations on uint8 batches, with the arithmetic of Pillow and OpenCV.

Each takes images [N, 3, H, W] and parameters [N, P], a row an image, which torchvision's functions
do not take, and returns new images. Between operations images are bytes, as on the CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional


def column(parameters: Tensor) -> Tensor:
    """Return the first parameter for the pixels of each image, [N, 1, 1, 1]."""
    return parameters[:, :1, None, None]


def grey(images: Tensor) -> Tensor:
    """Return Pillow's grey, uint8 [N, 1, H, W]: ITU-R 601-2 in fixed point."""
    red, green, blue = images.int().split(1, dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).to(torch.uint8)


def blend(low: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Return low + factor * (images - low), cut off like Pillow's ``Image.blend``."""
    low = low.float()
    return (images - low).mul_(column(factor).float()).add_(low).clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return blend(images.new_zeros(1), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey, a whole number."""
    count = images.shape[2] * images.shape[3]
    total = grey(images).sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    return blend((2 * total + count) // (2 * count), images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's grey."""
    return blend(grey(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with Pillow's ``SMOOTH``, (sum of 3x3 + 4 x centre) / 13, which leaves the border."""
    low, x = images.float(), images.float()
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * x[..., 1:-1, 1:-1]
    low[..., 1:-1, 1:-1] = (total / 13 + 0.5).floor()
    return blend(low, images, factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by a share of the circle, in Pillow's HSV of 8 bits, float and double."""
    high, low = images.amax(1).float(), images.amin(1).float()
    span = (high - low).clamp(min=1)
    # Distances of red, green and blue from the greatest, 0..1.
    red, green, blue = ((high[:, None] - images) / span[:, None]).double().unbind(1)
    turn = torch.where(green == 0, 2 + red - blue, 4 + green - red)
    turn = torch.where(red == 0, blue - green, turn).float().double()
    turn = (turn / 6 + 1).fmod(1).float().double() * 255
    steps = (shift[..., None].double() * 255).trunc()
    angle = (turn.floor() + steps) % 256 * (6 / 255)  # 0..6
    pure = ((span / high.clamp(min=1)).double() * 255).floor().mul_(high > low) / 255
    # A channel falls from the greatest value as its distance from the angle grows.
    places = [(angle + start) % 6 for start in (5, 3, 1)]
    falls = torch.stack([torch.minimum(at, 4 - at).clamp_(0, 1) for at in places], 1)
    values = high[:, None] * (1 - pure[:, None] * falls)
    return values.add_(0.5).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert values from a threshold on."""
    return torch.where(images < column(threshold).float(), images, 255 - images)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur by Gaussians, mirrored at the borders.

    ``sigma`` [N, R + 1] has a column for each weight of half the widest kernel. OpenCV's weights
    for bytes are 256ths: from the edge on, each is rounded and its error handed on to the next; the
    centre takes what is left. float32 holds the sums exactly.
    """
    radius, number = sigma.shape[1] - 1, 3 * len(images)
    at = torch.arange(radius, -1, -1, device=sigma.device)
    half = (-0.5 * (at / sigma) ** 2).exp() * (at <= (4 * sigma).ceil())
    half *= 256 / (2 * half.sum(1, keepdim=True) - 1)
    for place in range(radius):
        rounded = half[:, place].round()
        half[:, place + 1] += half[:, place] - rounded
        half[:, place] = rounded
    half[:, radius] = 256 - 2 * half[:, :radius].sum(1)
    kernels = torch.cat([half, half[:, :radius].flip(1)], 1).float()
    kernels = kernels.repeat_interleave(3, 0)[:, None, None]  # [3N, 1, 1, 2R + 1]
    x = images.reshape(1, number, *images.shape[2:]).float()  # every channel is a group
    x = functional.pad(x, (radius, radius, 0, 0), mode='reflect')
    x = functional.conv2d(x, kernels, groups=number)
    x = functional.pad(x, (0, 0, radius, radius), mode='reflect')
    x = functional.conv2d(x, kernels.transpose(2, 3), groups=number)
    return x.add_(32768).div_(65536).to(torch.uint8).view(images.shape)
