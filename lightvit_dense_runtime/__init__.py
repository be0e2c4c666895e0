"""Exported models without torch: numpy, OpenCV and the runtime of the file."""

from .errors import ModelFileError, UserError
from .networks import Network, open_model
from .tasks import (
    Classification,
    Classifier,
    Detections,
    Detector,
    FeatureExtractor,
    Features,
    Found,
    Segmentation,
    Segmentor,
    Tracker,
    load,
)
