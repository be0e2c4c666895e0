"""Data preprocessors: a collated batch in, normalised tensors on the device out."""

from .multi_view import MultiViewPreprocessor

__all__ = ['MultiViewPreprocessor']
