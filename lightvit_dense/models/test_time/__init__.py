"""Test-time augmentation: several views of an image, one result."""

from .detection import DetectionTTA
from .segmentation import SegmentationTTA
