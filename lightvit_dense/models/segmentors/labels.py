"""Labels of every pixel of an original image without its scores in memory."""

import torch
from torch import Tensor
from torch.nn import functional as F

NUMBERS = 2**24
"""Scores to hold at once: 64 MiB in single precision."""


def label_map(
    scores: Tensor, size: tuple[int, int], align_corners: bool = False, numbers: int = NUMBERS
) -> Tensor:
    """Resize scores [classes, h, w] and choose classes, a strip of ``numbers`` at a time."""
    classes, rows, _ = scores.shape
    height, width = size
    above, below, part = _neighbours(rows, height, align_corners, scores)
    strips = []
    for chosen in torch.arange(height, device=scores.device).split(
        max(numbers // (classes * width), 1)
    ):
        # [classes, strip, w]: rows between two rows of scores
        strip = torch.lerp(scores[:, above[chosen]], scores[:, below[chosen]], part[chosen, None])
        strip = F.interpolate(
            strip[None], (len(chosen), width), mode='bilinear', align_corners=align_corners
        )[0]
        strips.append(strip.argmax(0))
    return torch.cat(strips)[None]


def _neighbours(
    length: int, target: int, align_corners: bool, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each row of the target the rows above and below, and the part of the latter."""
    place = torch.arange(target, device=like.device, dtype=torch.float32)
    if align_corners:
        place = place * ((length - 1) / max(target - 1, 1))
    else:
        place = ((place + 0.5) * (length / target) - 0.5).clamp(min=0)
    above = place.long().clamp(max=length - 1)
    return above, (above + 1).clamp(max=length - 1), (place - above).to(like.dtype)
