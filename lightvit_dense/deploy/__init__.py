"""Models as files that run without torch."""

from .classification import ClassificationGraph, FeaturesGraph
from .export import add_metadata, export_onnx, onnx_session
from .graph import Graph, make_graph
