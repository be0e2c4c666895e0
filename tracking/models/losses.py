"""The target of the score map, a Gaussian around the centre of the box, and the losses."""

import torch
from torch import Tensor


def focal_loss(score: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Return CornerNet's focal loss (Law and Deng 2018, eq. 1) of scores [B, 1, rows, columns]."""
    positive = target.eq(1)
    hits = torch.log(score) * (1 - score) ** alpha * positive
    misses = torch.log(1 - score) * score**alpha * (1 - target) ** beta * ~positive
    return -(hits.sum() + misses.sum()) / positive.sum().clamp(min=1)


def giou_loss(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean GIoU loss (Rezatofighi et al. 2019) and IoU of corners [B, 4], without waits."""
    left, top, right, bottom = boxes.unbind(1)
    west, north, east, south = truth.unbind(1)
    width = torch.minimum(right, east) - torch.maximum(left, west)
    height = torch.minimum(bottom, south) - torch.maximum(top, north)
    shared = torch.where((width > 0) & (height > 0), width * height, 0.0)
    union = (right - left) * (bottom - top) + (east - west) * (south - north) - shared
    hull = torch.maximum(right, east) - torch.minimum(left, west)
    hull = hull * (torch.maximum(bottom, south) - torch.minimum(top, north))
    iou = shared / (union + 1e-7)
    return (1 - iou + (hull - union) / (hull + 1e-7)).mean(), iou.detach().mean()


def gaussian_radius(size: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return how far a corner may move so that boxes still overlap by ``min_overlap``.

    CornerNet's rule (Law and Deng 2018) as its first code had it and as CenterNet and OSTrack took
    it over: the roots of the three quadratic equations are not divided by their leading terms.
    Sizes [..., 2] and radii [...] are in cells.
    """
    width, height = size.unbind(-1)
    total, area = width + height, width * height
    rest = 1 - min_overlap
    roots = (
        (total, area * rest / (1 + min_overlap), 1.0),
        (2 * total, rest * area, 4.0),
        (-2 * min_overlap * total, -rest * area, 4 * min_overlap),
    )
    radii = [(b + (b * b - 4 * a * c).clamp(min=0).sqrt()) / 2 for b, c, a in roots]
    return torch.stack(radii).amin(0)


def gaussian_map(boxes: Tensor, grid: tuple[int, int], min_overlap: float = 0.7) -> Tensor:
    """Return the score maps [B, 1, rows, columns] that boxes ask for (CenterNet, as in OSTrack).

    One at the cell nearest to the centre, falling off with a deviation of a sixth of the diameter,
    zero beyond the radius of :func:`gaussian_radius`. A box whose cell is not on the map leaves its
    edge at most. Boxes [B, 4] are parts of the search crop.
    """
    rows, columns = grid
    cells = torch.stack([boxes[:, ::2] * columns, boxes[:, 1::2] * rows], 2)  # [B, 2, 2]
    center = (cells[:, 0] + cells[:, 1] / 2).round()  # [B, 2]
    radius = gaussian_radius(cells[:, 1].clamp(min=0), min_overlap).clamp(min=0).floor()
    x = torch.arange(columns, device=boxes.device) - center[:, :1]  # [B, columns]
    y = torch.arange(rows, device=boxes.device) - center[:, 1:]  # [B, rows]
    sigma = (2 * radius + 1) / 6
    squares = x[:, None, :] ** 2 + y[:, :, None] ** 2  # [B, rows, columns]
    heat = torch.exp(-squares / (2 * sigma**2)[:, None, None])
    limit = radius[:, None]
    inside = (x.abs() <= limit)[:, None, :] & (y.abs() <= limit)[:, :, None]
    return (heat * inside)[:, None]
