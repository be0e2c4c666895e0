"""Matching as detectron2 does it, and sampling; of a whole batch, where mmdet often waits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.task_modules.assigners import AssignResult, BboxOverlaps2D
from mmdet.models.task_modules.assigners import MaxIoUAssigner as MMDetMaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...registry import TASK_UTILS

_MOST = 2**26  # IoUs computed at a time: a bound of memory


@TASK_UTILS.register_module(force=True)
class MaxIoUAssigner(MMDetMaxIoUAssigner):
    """mmdet's ``MaxIoUAssigner`` by which every positive anchor learns the box it overlaps most.

    An anchor may be positive because it is the best that some box has. mmdet gives it to the last
    such box in the file; here, as in detectron2, it goes to the box of the largest IoU, which
    matters where an anchor holds several tiny boxes. Takes mmdet's arguments; detectron2's RPN has
    no least IoU for such anchors (``min_pos_iou=0``).
    """

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Match by the IoU of boxes and anchors [boxes, anchors]; mmdet's result."""
        result = super().assign_wrt_overlaps(overlaps, gt_labels)
        positive = result.gt_inds > 0
        if positive.any():
            best = overlaps[:, positive].argmax(0)
            result.gt_inds[positive] = best + 1
            result.labels[positive] = gt_labels[best]
        return result


class Drawn(NamedTuple):
    """What a head trains on: P positives, then the negatives, R in all; each image by image."""

    places: Tensor  # [R] in the flattened priors [B * N]
    rois: Tensor  # [R, 5]: image and prior
    boxes: Tensor  # [P, 4] of the positives' objects
    labels: Tensor  # [P] of them
    objects: Tensor  # [P]: their numbers in their images
    counts: list[tuple[int, int]]  # positives and negatives of each image


def handles(assigner: Any, sampler: Any, head: Any, cfg: Any) -> bool:
    """Return whether :func:`draw` does what these parts of mmdet do, for a head of usual losses."""
    plain = type(assigner) is MMDetMaxIoUAssigner and not assigner.match_low_quality
    return (
        (plain or type(assigner) is MaxIoUAssigner)
        and type(assigner.iou_calculator) is BboxOverlaps2D
        and assigner.gt_max_assign_all
        and assigner.ignore_iof_thr <= 0
        and assigner.perm_repeat_gt_cfg is None
        and type(sampler) is RandomSampler
        and type(head.loss_cls) is CrossEntropyLoss
        and not head.reg_decoded_bbox
        and cfg['pos_weight'] <= 0
    )


def draw(
    assigner: Any, sampler: Any, priors: Sequence[Tensor], truths: Sequence[InstanceData]
) -> Drawn:
    """Match the priors [n, 4] of each image with its objects, and draw from them."""
    boxes, real = _stack([truth.bboxes for truth in truths])
    stacked, there = _stack(priors)
    found = match(assigner, boxes, real, stacked).masked_fill(~there, -1)
    most = boxes.shape[1]
    if sampler.add_gt_as_proposals:
        own = torch.arange(1, most + 1, device=found.device).expand(len(boxes), -1)
        found = torch.cat([own.masked_fill(~real, -1), found], 1)
        stacked = torch.cat([boxes, stacked], 1)
    places, counts = sample(sampler, found)
    images = places // found.shape[1]
    rois = torch.cat([images[:, None], stacked.flatten(0, 1)[places]], 1)
    positive = places[: sum(count for count, _ in counts)]
    objects = found.flatten()[positive] - 1
    owner = images[: len(positive)] * most + objects
    labels, _ = _stack([truth.labels for truth in truths])
    return Drawn(places, rois, boxes.flatten(0, 1)[owner], labels.flatten()[owner], objects, counts)


def match(assigner: Any, boxes: Tensor, real: Tensor, priors: Tensor) -> Tensor:
    """Match priors [B, N, 4] with the boxes [B, G, 4] that are ``real``.

    Returns [B, N]: 1 + the number of a positive's box, 0 for background, -1 for neither.
    """
    pairs = boxes.shape[1] * priors.shape[1]
    if not pairs:
        return torch.zeros(priors.shape[:2], dtype=torch.long, device=priors.device)
    if len(boxes) > max(1, _MOST // pairs):
        halves = zip(*(x.chunk(2) for x in (boxes, real, priors)), strict=True)
        return torch.cat([match(assigner, *half) for half in halves])
    overlaps = _iou(boxes, priors)
    value, box = overlaps.max(1)
    limits = assigner.neg_iou_thr
    low, high = limits if isinstance(limits, tuple) else (0.0, limits)
    # A padding box overlaps nothing. Without a real one all is background.
    negative = ((value >= low) & (value < high)) | ~real.any(1, keepdim=True)
    positive = value >= assigner.pos_iou_thr
    if assigner.match_low_quality:
        best = overlaps.amax(2, keepdim=True)  # [B, G, 1]
        chosen = (overlaps == best) & (best >= assigner.min_pos_iou) & real[..., None]
        positive = positive | chosen.any(1)
    return torch.where(positive, box + 1, negative.long() - 1)


def sample(sampler: Any, found: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Draw positives and negatives from what :func:`match` found [B, N], as mmdet does.

    Returns their places in it, flattened, and how many of both each image has.
    """
    kinds, counts = (found > 0, found == 0), []
    for positives, negatives in torch.stack([kind.sum(1) for kind in kinds], 1).tolist():
        positives = min(positives, int(sampler.num * sampler.pos_fraction))
        room = sampler.num - positives
        if sampler.neg_pos_ub >= 0:
            room = min(room, int(sampler.neg_pos_ub * max(1, positives)))
        counts.append((positives, min(negatives, room)))
    keys = torch.rand(found.shape, device=found.device)
    first = torch.arange(len(found), device=found.device)[:, None] * found.shape[1]
    drawn: list[Tensor] = []
    for kind, wanted in zip(kinds, zip(*counts, strict=True), strict=True):
        places = keys.masked_fill(~kind, -1).topk(max(wanted)).indices + first
        drawn += [row[:count] for row, count in zip(places, wanted, strict=True)]
    return torch.cat(drawn), counts


def _stack(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack [n, ...] of each image to [B, N, ...]; return which are real, bool [B, N], too."""
    stacked = pad_sequence(list(boxes), batch_first=True)
    counts = torch.tensor([len(x) for x in boxes]).to(stacked.device, non_blocking=True)
    return stacked, torch.arange(stacked.shape[1], device=stacked.device) < counts[:, None]


def _iou(boxes: Tensor, priors: Tensor) -> Tensor:
    """Return the IoU [B, G, N], rounded as mmdet's ``bbox_overlaps`` is, in less memory."""
    left, top, right, bottom = boxes[..., None].unbind(2)
    west, north, east, south = priors[:, None].unbind(3)
    common = (torch.minimum(right, east) - torch.maximum(left, west)).clamp_(min=0)
    common *= (torch.minimum(bottom, south) - torch.maximum(top, north)).clamp_(min=0)
    union = (right - left) * (bottom - top) + (east - west) * (south - north) - common
    return common / union.clamp_(min=1e-6)
