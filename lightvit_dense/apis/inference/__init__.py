"""What inference takes, finds and writes, as plain data."""

from .results import Classification, Detections, Failure, Result, Segmentation
from .sources import InferenceError, Picture, Sources
from .writer import ResultWriter
