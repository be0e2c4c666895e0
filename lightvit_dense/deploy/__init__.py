"""Models as files that run without torch."""

from ..registry import GRAPHS, register_late
from .classification import ClassificationGraph, FeaturesGraph
from .export import PRECISIONS, SUFFIXES, check_target, export
from .graph import Graph, make_graph
from .metadata import describe
from .preprocess import Preprocess
from .segmentation import SegmentationGraph

register_late(GRAPHS, 'DetectionGraph', 'deploy.detection')  # of mmdet
