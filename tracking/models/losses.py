"""Losses of the one-stream tracker."""

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss


def focal_loss(score: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Return CornerNet's focal loss of score maps (Law and Deng 2018, eq. 1).

    Scores [B, 1, rows, columns] lie strictly between 0 and 1; cells of Gaussian maps that are
    exactly 1 are positive. The sum is divided by the number of positive cells, if there are any.
    """
    positive = target.eq(1)
    hits = torch.log(score) * (1 - score) ** alpha * positive
    misses = torch.log(1 - score) * score**alpha * (1 - target) ** beta * ~positive
    return -(hits.sum() + misses.sum()) / positive.sum().clamp(min=1)


def giou_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of 1 - GIoU (Rezatofighi et al. 2019) of corners [B, 4], pair by pair."""
    return generalized_box_iou_loss(predicted, wanted, reduction='mean')
