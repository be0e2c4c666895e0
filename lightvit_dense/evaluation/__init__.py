"""Metrics."""

from .classification import Accuracy
from .coco_metric import CocoMetric
from .iou_metric import IoUMetric
from .joint import JointEvaluator
from .real import RealAccuracy

__all__ = ['Accuracy', 'CocoMetric', 'IoUMetric', 'JointEvaluator', 'RealAccuracy']
