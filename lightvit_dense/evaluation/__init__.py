"""Metrics."""

from .classification import Accuracy, RealAccuracy
from .coco_metric import CocoMetric
from .iou_metric import IoUMetric
from .joint import JointEvaluator
from .predictions import DumpPredictions, read_predictions
