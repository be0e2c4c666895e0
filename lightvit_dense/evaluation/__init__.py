"""Metrics."""

from .classification import Accuracy
from .coco_metric import CocoMetric
from .joint import JointEvaluator
from .real import RealAccuracy

__all__ = ['Accuracy', 'CocoMetric', 'JointEvaluator', 'RealAccuracy']
