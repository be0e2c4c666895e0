"""Inference of a tracker without needless work, in torch and as a file."""

from .graph import TrackingGraph, fingerprint
