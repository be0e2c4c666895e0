"""Trained models over files, folders, arrays and videos."""

from .inferencer import (
    ClassificationInferencer,
    DetectionInferencer,
    Inferencer,
    SegmentationInferencer,
    make_inferencer,
)
from .results import Classification, Detections, Failure, Result, Segmentation
from .sources import InferenceError

__all__ = [
    'Classification',
    'ClassificationInferencer',
    'DetectionInferencer',
    'Detections',
    'Failure',
    'InferenceError',
    'Inferencer',
    'Result',
    'Segmentation',
    'SegmentationInferencer',
    'make_inferencer',
]
