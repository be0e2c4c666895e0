"""Necks: backbone outputs in, multi-scale maps out."""

from .pyramids import MultiDepthPyramid, ScaledFeaturePyramid, SimpleFeaturePyramid
