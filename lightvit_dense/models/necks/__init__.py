"""Necks: backbone outputs in, multi-scale maps out."""

from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['SimpleFeaturePyramid']
