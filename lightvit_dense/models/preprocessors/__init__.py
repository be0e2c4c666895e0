"""Data preprocessors: a collated batch in, normalised tensors on the device out."""

from .image import ImagePreprocessor
from .multi_view import MultiViewPreprocessor

__all__ = ['ImagePreprocessor', 'MultiViewPreprocessor']
