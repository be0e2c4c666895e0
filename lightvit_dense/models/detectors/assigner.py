"""Matching of anchors and boxes as detectron2 does it."""

from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import MaxIoUAssigner as MMDetMaxIoUAssigner
from torch import Tensor

from ...registry import TASK_UTILS


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
