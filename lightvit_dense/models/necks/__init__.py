"""Necks: backbone outputs in, multi-scale maps out."""

from .multi_depth_pyramid import MultiDepthPyramid
from .scaled_feature_pyramid import ScaledFeaturePyramid
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['MultiDepthPyramid', 'ScaledFeaturePyramid', 'SimpleFeaturePyramid']
