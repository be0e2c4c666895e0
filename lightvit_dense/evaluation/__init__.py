"""Metrics."""

from .classification import Accuracy
from .coco_metric import CocoMetric
from .iou_metric import IoUMetric
from .joint import JointEvaluator
from .predictions import DumpPredictions, read_predictions
from .real import RealAccuracy

__all__ = [
    'Accuracy',
    'CocoMetric',
    'DumpPredictions',
    'IoUMetric',
    'JointEvaluator',
    'RealAccuracy',
    'read_predictions',
]
