"""Exported models without torch: numpy, OpenCV and the runtime of the file."""

from .errors import UserError
from .networks import Network, open_model
from .tasks import Classifier, Detections, Detector, FeatureExtractor, Segmentor, Tracker, load
